// Zero-filled memory from the operating system. Pages that nobody touches cost nothing, so capacities may be generous.
#pragma once
#include <stddef.h>

namespace bk {

/** 64-byte aligned, zero; null when refused. 0 bytes give null. */
void* pages_allocate(size_t bytes);
void pages_free(void* pages, size_t bytes);
/** As large as `more`, with the contents of before; null when refused, and then nothing has changed. Where it can, it moves no byte. */
void* pages_grow(void* pages, size_t bytes, size_t more);

}  // namespace bk
