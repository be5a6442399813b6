// What the runtime uses of <stdlib.h>, see string.h.
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
void* calloc(size_t count, size_t bytes);
void free(void* block);
__attribute__((noreturn)) void abort(void);
#ifdef __cplusplus
}
#endif
