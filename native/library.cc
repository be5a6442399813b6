#include "library.h"

#include <memory>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace bk {
namespace {

#if defined(_WIN32)
void* load(const std::string& file, std::string* message) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, file.c_str(), -1, nullptr, 0);
  std::wstring wide((size_t)length, L'\0');
  MultiByteToWideChar(CP_UTF8, 0, file.c_str(), -1, &wide[0], length);
  HMODULE library = LoadLibraryW(wide.c_str());
  if (!library) *message = file + ": error " + std::to_string(GetLastError());
  return (void*)library;
}
void* find(void* library, const char* name) { return (void*)GetProcAddress((HMODULE)library, name); }
#else
void* load(const std::string& file, std::string* message) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) *message = dlerror();
  return library;
}
void* find(void* library, const char* name) { return dlsym(library, name); }
#endif

}  // namespace

const Library* own_library() {
#define BK_MEMBER(name) bk_##name,
  static const Library own = {BK_FUNCTIONS(BK_MEMBER)};
#undef BK_MEMBER
  return &own;
}

const Library* open_library(const std::string& file, std::string* message) {
  void* handle = load(file, message);
  if (!handle) return nullptr;
  std::unique_ptr<Library> library(new Library);
#define BK_MEMBER(name)                                                                       \
  if (!(library->name = reinterpret_cast<decltype(&bk_##name)>(find(handle, "bk_" #name)))) { \
    *message = file + " has no bk_" #name;                                                    \
    return nullptr;                                                                           \
  }
  BK_FUNCTIONS(BK_MEMBER)
#undef BK_MEMBER
  if (library->ops_hash() != bk_ops_hash()) {
    *message = file + " is that of another version of bertkit";
    return nullptr;
  }
  return library.release();
}

}  // namespace bk
