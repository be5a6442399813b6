// Windows only. An addon finds the functions of Node-API in the program that loads it, whatever that is called: node.exe, deno.exe,
// bun.exe, or a program that embeds Node. Import libraries and delay-load hooks name one file; here each function is a jump through a
// pointer that is looked up once, when the library is loaded.
#include <node_api.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

// FUNCTION(name) for every function of Node-API 9; CMakeLists.txt writes it from node-api-headers
#define FUNCTION(name) extern "C" FARPROC host_##name;
#include "node_api_functions.h"
#undef FUNCTION

#if defined(__x86_64__)
#define JUMP(name) "jmp *host_" #name "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(name) "adrp x16, host_" #name "\nldr x16, [x16, :lo12:host_" #name "]\nbr x16\n"
#endif
#define FUNCTION(name) asm(".text\n.globl " #name "\n.p2align 4\n" #name ":\n" JUMP(name));
#include "node_api_functions.h"
#undef FUNCTION

namespace {

/** In place of a function that the host has not: the caller makes a JavaScript exception of it. */
napi_status absent() { return napi_generic_failure; }

/** From the program itself, or from the library that some builds of Node keep their functions in. */
FARPROC find(const char* name) {
  const char* const modules[] = {nullptr, "libnode.dll"};
  for (const char* module : modules)
    if (const HMODULE host = GetModuleHandleA(module))
      if (const FARPROC function = GetProcAddress(host, name)) return function;
  return strcmp(name, "napi_fatal_error") ? (FARPROC)absent : (FARPROC)abort;  // which must not return
}

}  // namespace

#define FUNCTION(name) FARPROC host_##name = (FARPROC)absent;
extern "C" {
#include "node_api_functions.h"
}
#undef FUNCTION

extern "C" BOOL WINAPI DllMain(HINSTANCE, DWORD reason, LPVOID) {
  if (reason != DLL_PROCESS_ATTACH) return TRUE;
#define FUNCTION(name) host_##name = find(#name);
#include "node_api_functions.h"
#undef FUNCTION
  return TRUE;
}
