// What kernels and runtime use of <string.h> (libc.cc): WebAssembly is compiled without a C library, the same with every compiler.
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
void* memcpy(void* to, const void* from, size_t bytes);
void* memmove(void* to, const void* from, size_t bytes);
void* memset(void* to, int byte, size_t bytes);
int strcmp(const char* a, const char* b);
#ifdef __cplusplus
}
#endif
