// node-addon-api around api.h: three classes, Engine, Memory and Program, and nothing that computes. The only file that includes
// napi.h. TypeScript checks arguments and words the errors that users see (src/backend/native.ts); the checks here only keep a wrong
// call from becoming a crash.
#include <napi.h>
#include <stdio.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include "library.h"

namespace {

using bk::Library;
using EngineHandle = std::shared_ptr<bk_engine>;
using MemoryHandle = std::shared_ptr<bk_memory>;
using ProgramHandle = std::shared_ptr<bk_program>;

constexpr double kMostBytes = 9e15;  // whole numbers up to here have a double of their own

struct Instance;
struct Job;
void tell(Napi::Env env, Napi::Function, Instance* own, Job* job);

/** What one JavaScript environment (the main thread or a worker) owns. */
struct Instance {
  Napi::TypedThreadSafeFunction<Instance, Job, tell> deliver;
  std::mutex mutex;
  std::condition_variable ended;
  std::set<Job*> jobs;
  double next_id = 1;
};

/** A run in flight. Handles keep what it uses alive even when JavaScript disposes of it meanwhile. */
struct Job {
  Instance* instance;
  const Library* library;
  double id;
  EngineHandle engine;
  ProgramHandle program;
  MemoryHandle memory;
  std::shared_ptr<int> busy;  // runs on the memory
  Napi::FunctionReference callback;
  std::vector<double> seconds;  // of each record; empty: not wanted
  bk_run* run = nullptr;
  bool ended = false;
  int error = 0;
  char message[256] = "";
};

Instance& instance(Napi::Env env) { return *env.GetInstanceData<Instance>(); }

/** Throws an Error whose `number` is a bk_error. */
[[noreturn]] void raise(Napi::Env env, int number, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("number", Napi::Number::New(env, number));
  throw error;
}

/** The object that a value wraps: by the tag of its class, since a prototype can be given to anything. */
template <class T>
T* unwrap(Napi::Env env, const Napi::Value& value, const char* expected) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&T::kTag)) raise(env, BK_ARGUMENT, std::string("Expected ") + expected);
  return T::Unwrap(value.As<Napi::Object>());
}

double number(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsNumber()) raise(info.Env(), BK_ARGUMENT, "Expected a number as argument " + std::to_string(index));
  return info[index].As<Napi::Number>().DoubleValue();
}

/** A number that a cast to an integer keeps: others are undefined behaviour, and 0 on some CPUs. */
template <class Integer>
Integer integer(const Napi::CallbackInfo& info, size_t index) {
  const double value = number(info, index), most = sizeof(Integer) == 4 ? INT32_MAX : kMostBytes;
  if (!(value >= 0 && value <= most))
    raise(info.Env(), BK_ARGUMENT, "Expected argument " + std::to_string(index) + " to be from 0 to " + std::to_string((int64_t)most));
  return (Integer)value;
}

template <class Array>
Array typed_array(const Napi::CallbackInfo& info, size_t index, napi_typedarray_type type) {
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != type)
    raise(info.Env(), BK_ARGUMENT, "Expected another typed array as argument " + std::to_string(index));
  return info[index].As<Array>();
}

class Engine : public Napi::ObjectWrap<Engine> {
 public:
  static constexpr napi_type_tag kTag = {0x141813c09d2dc87d, 0x47f638baba8cb7c8};

  static Napi::Function Init(Napi::Env env) {
    return DefineClass(
        env, "Engine",
        {InstanceMethod<&Engine::Describe>("describe"), InstanceMethod<&Engine::MeasurePeak>("measurePeak"), InstanceMethod<&Engine::Cancel>("cancel")});
  }

  /** Engine(instruction set, threads, file of a library): the library's kernels in place of the addon's own. */
  explicit Engine(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Engine>(info) {
    const std::string isa = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "";
    library = bk::own_library();
    if (info[2].IsString()) {
      std::string reason;
      library = bk::open_library(info[2].As<Napi::String>().Utf8Value(), &reason);
      if (!library) raise(info.Env(), BK_DEVICE, reason);
    }
    char message[256];
    bk_engine* engine;
    if (const int error = library->open(isa.empty() ? nullptr : isa.c_str(), integer<int>(info, 1), &engine, message, sizeof message))
      raise(info.Env(), error, message);
    handle = EngineHandle(engine, library->close);
    Value().TypeTag(&kTag);
  }

  const Library* library;
  EngineHandle handle;

 private:
  Napi::Value Describe(const Napi::CallbackInfo& info) {
    char json[1024];
    library->describe(handle.get(), json, sizeof json);
    return Napi::String::New(info.Env(), json);
  }

  Napi::Value MeasurePeak(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), library->measure_peak(handle.get(), integer<int>(info, 0), number(info, 1)));
  }

  void Cancel(const Napi::CallbackInfo& info) {
    Instance& own = instance(info.Env());
    const double id = number(info, 0);
    std::lock_guard<std::mutex> lock(own.mutex);
    for (Job* job : own.jobs)
      if (job->id == id && !job->ended) job->library->run_cancel(job->run);
  }
};

constexpr int kArenaCount = 0
#define ARENA(id, name) +1
#include "ops.def"
    ;

class Memory : public Napi::ObjectWrap<Memory> {
 public:
  static constexpr napi_type_tag kTag = {0x2034e26ed26302bf, 0x4d638556c03e9dbf};

  static Napi::Function Init(Napi::Env env) {
    return DefineClass(env, "Memory",
                       {InstanceMethod<&Memory::Reserve>("reserve"), InstanceMethod<&Memory::Release>("release"), InstanceMethod<&Memory::Write>("write"),
                        InstanceMethod<&Memory::Read>("read"), InstanceMethod<&Memory::Dispose>("dispose")});
  }

  explicit Memory(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Memory>(info), busy(std::make_shared<int>(0)) {
    const Engine* engine = unwrap<Engine>(info.Env(), info[0], "an Engine");
    library = engine->library;
    bk_memory* memory;
    if (const int error = library->memory_create(engine->handle.get(), &memory)) raise(info.Env(), error, "No memory for a model");
    engine_ = engine->handle;
    handle = MemoryHandle(memory, library->memory_free);
    Value().TypeTag(&kTag);
  }

  void Finalize(Napi::Env env) override { release(env); }

  const Library* library;

 private:
  EngineHandle engine_;  // outlives the memory

 public:
  MemoryHandle handle;
  std::shared_ptr<int> busy;

 private:
  bk_memory* idle(const Napi::CallbackInfo& info) {
    if (!handle) raise(info.Env(), BK_ARGUMENT, "The memory was disposed");
    if (*busy) raise(info.Env(), BK_ARGUMENT, "The memory is in use by a run");
    return handle.get();
  }

  void Reserve(const Napi::CallbackInfo& info) {
    bk_memory* memory = idle(info);
    const int arena = integer<int>(info, 0);
    const int64_t bytes = integer<int64_t>(info, 1);
    char message[256];
    if (const int error = library->memory_reserve(memory, arena, (uint64_t)bytes, message, sizeof message)) raise(info.Env(), error, message);
    const int64_t grown = bytes - sizes_[arena];
    if (grown > 0) {  // tell V8 about native bytes, so that garbage is collected in time
      sizes_[arena] += grown;
      Napi::MemoryManagement::AdjustExternalMemory(info.Env(), grown);
    }
  }

  void Release(const Napi::CallbackInfo& info) {
    bk_memory* memory = idle(info);
    const int arena = integer<int>(info, 0);
    if (const int error = library->memory_release(memory, arena)) raise(info.Env(), error, "No such arena");
    if (sizes_[arena]) Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -sizes_[arena]);
    sizes_[arena] = 0;
  }

  void Write(const Napi::CallbackInfo& info) {
    bk_memory* memory = idle(info);
    if (!info[2].IsTypedArray()) raise(info.Env(), BK_ARGUMENT, "Expected a typed array");
    const Napi::TypedArray view = info[2].As<Napi::TypedArray>();
    const char* data = (const char*)view.ArrayBuffer().Data() + view.ByteOffset();
    char message[256];
    if (const int error = library->memory_write(memory, integer<int>(info, 0), integer<uint64_t>(info, 1), data, view.ByteLength(), message, sizeof message))
      raise(info.Env(), error, message);
  }

  void Read(const Napi::CallbackInfo& info) {
    bk_memory* memory = idle(info);
    if (!info[2].IsTypedArray()) raise(info.Env(), BK_ARGUMENT, "Expected a typed array");
    const Napi::TypedArray view = info[2].As<Napi::TypedArray>();
    char* data = (char*)view.ArrayBuffer().Data() + view.ByteOffset();
    char message[256];
    if (const int error = library->memory_read(memory, integer<int>(info, 0), integer<uint64_t>(info, 1), data, view.ByteLength(), message, sizeof message))
      raise(info.Env(), error, message);
  }

  /** The pages go back at once, or when the run that uses them has ended. */
  void Dispose(const Napi::CallbackInfo& info) { release(info.Env()); }

  void release(Napi::Env env) {
    if (!handle) return;
    handle.reset();
    for (int64_t& size : sizes_) {
      if (size) Napi::MemoryManagement::AdjustExternalMemory(env, -size);
      size = 0;
    }
  }

  int64_t sizes_[kArenaCount] = {};
};

class Program : public Napi::ObjectWrap<Program> {
 public:
  static constexpr napi_type_tag kTag = {0x12298aebb418a716, 0xe988b56513be1f60};

  static Napi::Function Init(Napi::Env env) {
    return DefineClass(env, "Program", {InstanceMethod<&Program::Run>("run"), InstanceMethod<&Program::Dispose>("dispose")});
  }

  explicit Program(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Program>(info) {
    const Engine* engine = unwrap<Engine>(info.Env(), info[0], "an Engine");
    const Napi::Int32Array plan = typed_array<Napi::Int32Array>(info, 1, napi_int32_array);
    char message[256];
    bk_program* program;
    library_ = engine->library;
    if (const int error = library_->program_create(engine->handle.get(), plan.Data(), plan.ElementLength(), &program, message, sizeof message))
      raise(info.Env(), error, message);
    engine_ = engine->handle;
    handle_ = ProgramHandle(program, library_->program_free);
    Value().TypeTag(&kTag);
  }

 private:
  /** run(memory, scalars, callback(error number, message, seconds of each record?), timed) -> id, for Engine.cancel. */
  Napi::Value Run(const Napi::CallbackInfo& info);
  void Dispose(const Napi::CallbackInfo&) { handle_.reset(); }

  const Library* library_;
  EngineHandle engine_;
  ProgramHandle handle_;
};

/** The times of a run that was asked for them, else undefined. */
Napi::Value seconds_of(Napi::Env env, const Job& job) {
  if (job.seconds.empty()) return env.Undefined();
  Napi::Float64Array seconds = Napi::Float64Array::New(env, job.seconds.size());
  std::copy(job.seconds.begin(), job.seconds.end(), seconds.Data());
  return seconds;
}

/** On the thread of JavaScript: tells what a run has come to. */
void tell(Napi::Env env, Napi::Function, Instance* own, Job* job) {
  if (!env) return;  // it is gone, and stop_jobs has freed the job
  {
    std::lock_guard<std::mutex> lock(own->mutex);  // job_ended has left its lock: the job is nobody's but ours
    own->jobs.erase(job);
    if (own->jobs.empty()) own->deliver.Unref(env);
  }
  const std::unique_ptr<Job> ended(job);
  --*ended->busy;
  try {
    ended->callback.Call({Napi::Number::New(env, ended->error), Napi::String::New(env, ended->message), seconds_of(env, *ended)});
  } catch (const Napi::Error&) {
    // the environment is being terminated and runs no more JavaScript: there is nobody to tell
  }
}

/** On the engine's thread, which must not throw, so nothing of ours is allocated: hand the job to its environment. */
void job_ended(void* user, int error, const char* message) {
  Job* job = (Job*)user;
  Instance* own = job->instance;
  std::lock_guard<std::mutex> lock(own->mutex);
  job->error = error;
  snprintf(job->message, sizeof job->message, "%s", message);
  job->ended = true;
  own->deliver.NonBlockingCall(job);
  own->ended.notify_all();
}

Napi::Value Program::Run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Instance& own = instance(env);
  const Memory* memory = unwrap<Memory>(env, info[0], "a Memory");
  const Napi::Float64Array scalars = typed_array<Napi::Float64Array>(info, 1, napi_float64_array);
  if (!info[2].IsFunction()) raise(env, BK_ARGUMENT, "Expected a function as argument 2");
  if (!handle_ || !memory->handle) raise(env, BK_ARGUMENT, "The program or the memory was disposed");
  if (memory->library != library_) raise(env, BK_ARGUMENT, "The memory belongs to another backend");
  std::unique_ptr<Job> job(new Job);
  job->instance = &own;
  job->library = library_;
  job->id = own.next_id++;
  job->engine = engine_;
  job->program = handle_;
  job->memory = memory->handle;
  job->busy = memory->busy;
  job->callback = Napi::Persistent(info[2].As<Napi::Function>());
  if (info[3].ToBoolean()) job->seconds.resize(library_->program_records(handle_.get()));
  double* seconds = job->seconds.empty() ? nullptr : job->seconds.data();
  char message[256] = "";
  int error;
  {
    std::lock_guard<std::mutex> lock(own.mutex);
    const auto place = own.jobs.insert(job.get()).first;  // before it starts: from then on the engine has it
    error = library_->run_start(handle_.get(), memory->handle.get(), scalars.Data(), scalars.ElementLength(), seconds, job_ended, job.get(), &job->run, message,
                                sizeof message);
    if (error)
      own.jobs.erase(place);
    else if (own.jobs.size() == 1)
      own.deliver.Ref(env);
  }
  if (error) raise(env, error, message);
  ++*job->busy;
  return Napi::Number::New(env, job.release()->id);
}

/** The environment goes away: stop its runs before what they use is freed. Registered after `deliver`, so it runs before it ends. */
void stop_jobs(Instance* own) {
  std::unique_lock<std::mutex> lock(own->mutex);
  for (Job* job : own->jobs)
    if (!job->ended) job->library->run_cancel(job->run);
  own->ended.wait(lock, [&] {
    for (Job* job : own->jobs)
      if (!job->ended) return false;
    return true;
  });
  for (Job* job : own->jobs) {
    job->callback.Reset();
    delete job;
  }
  own->jobs.clear();
}

/** Keeps this library loaded: its threads must never outlive its code, whatever environment unloads it. */
void pin_library() {
#if defined(_WIN32)
  HMODULE library;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN, (LPCSTR)&pin_library, &library);
#else
  Dl_info library;
  if (dladdr((void*)&pin_library, &library) && library.dli_fname) dlopen(library.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
#endif
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  pin_library();
  Instance* own = new Instance;
  env.SetInstanceData(own);
  own->deliver = Napi::TypedThreadSafeFunction<Instance, Job, tell>::New(env, "bertkit run", 0, 1, own);
  own->deliver.Unref(env);
  env.AddCleanupHook(stop_jobs, own);
  exports.Set("Engine", Engine::Init(env));
  exports.Set("Memory", Memory::Init(env));
  exports.Set("Program", Program::Init(env));
  exports.Set("opsHash", Napi::BigInt::New(env, bk_ops_hash()));
  return exports;
}

}  // namespace

NODE_API_MODULE(bertkit, Init)
