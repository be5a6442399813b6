// Zero-filled memory. Natively it is the operating system's: pages that nobody touches cost nothing, so capacities may be generous.
// In WebAssembly it is a part of the linear memory (wasm/memory.cc).
#pragma once
#include <stdint.h>

namespace bk {

/**
 * 64-byte aligned, zero; null when refused. 0 bytes give null. sparse: much of it will only ever be read, as zeros, so it is had in pages
 * that are as small as possible.
 */
void* pages_allocate(int64_t bytes, bool sparse = false);
void pages_free(void* pages, int64_t bytes);
/** As large as `more`, with the contents of before; null when refused, and then nothing has changed. Where it can, it moves no byte. */
void* pages_grow(void* pages, int64_t bytes, int64_t more, bool sparse = false);
/**
 * How much to ask for where `bytes` are wanted now and perhaps more later: half as much again where pages that nobody touches cost nothing,
 * since memory that is had anew is faulted in anew, half a second for a gigabyte.
 */
int64_t pages_room(int64_t bytes);
/** Copies into sparse pages: zeros over zeros are not written, so that they take no memory. */
void pages_write(void* to, const void* from, int64_t bytes);

/** Makes *pages, which are *bytes, at least as large as wanted, without their contents; false when refused, and then there are none. */
inline bool pages_reserve(char** pages, int64_t* bytes, int64_t wanted) {
  if (*bytes >= wanted) return true;
  pages_free(*pages, *bytes);  // first, so that old and new are never both in memory
  *pages = (char*)pages_allocate(wanted);
  *bytes = *pages ? wanted : 0;
  return *pages != nullptr;
}

}  // namespace bk
