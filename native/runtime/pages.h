// Zero-filled memory from the operating system. Pages that nobody touches cost nothing, so capacities may be generous.
#pragma once
#include <stddef.h>

namespace bk {

/** 64-byte aligned, zero; null when refused. 0 bytes give null. */
void* pages_allocate(size_t bytes);
void pages_free(void* pages, size_t bytes);

}  // namespace bk
