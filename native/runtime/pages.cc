#include "pages.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif
#include <string.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace bk {

#if defined(_WIN32)
void* pages_allocate(int64_t bytes, bool) { return bytes ? VirtualAlloc(nullptr, (size_t)bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) : nullptr; }
void pages_free(void* pages, int64_t) {
  if (pages) VirtualFree(pages, 0, MEM_RELEASE);
}
#elif defined(__SANITIZE_ADDRESS__)
// A poisoned page on each side, and the last page poisoned from the first byte that was not asked for: sanitized programs report what
// strays, which they do not on plain pages.
static int64_t page() { return sysconf(_SC_PAGESIZE); }
static int64_t whole(int64_t bytes) { return (bytes + page() - 1) / page() * page(); }
void* pages_allocate(int64_t bytes, bool) {
  if (!bytes || bytes > (int64_t)1 << 40) return nullptr;
  char* pages = (char*)mmap(nullptr, (size_t)(whole(bytes) + 2 * page()), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  ASAN_POISON_MEMORY_REGION(pages, (size_t)page());
  ASAN_POISON_MEMORY_REGION(pages + page() + bytes, (size_t)(whole(bytes) - bytes + page()));
  return pages + page();
}
void pages_free(void* pages, int64_t bytes) {
  if (!pages) return;
  ASAN_UNPOISON_MEMORY_REGION((char*)pages - page(), (size_t)(whole(bytes) + 2 * page()));
  munmap((char*)pages - page(), (size_t)(whole(bytes) + 2 * page()));
}
#else
/** Huge ones for fewer TLB misses on weights and activations. */
static void ask_for_size(void* pages, int64_t bytes, bool sparse) {
#if defined(MADV_HUGEPAGE)
  if (bytes >= (int64_t)4 << 20) madvise(pages, (size_t)bytes, sparse ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
#endif
}
void* pages_allocate(int64_t bytes, bool sparse) {
  if (!bytes) return nullptr;
  void* pages = mmap(nullptr, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  ask_for_size(pages, bytes, sparse);
  return pages;
}
void pages_free(void* pages, int64_t bytes) {
  if (pages) munmap(pages, (size_t)bytes);
}
#endif

#if defined(MREMAP_MAYMOVE) && !defined(__SANITIZE_ADDRESS__)
void* pages_grow(void* pages, int64_t bytes, int64_t more, bool sparse) {
  if (!pages) return pages_allocate(more, sparse);
  void* grown = mremap(pages, (size_t)bytes, (size_t)more, MREMAP_MAYMOVE);
  if (grown == MAP_FAILED) return nullptr;
  ask_for_size(grown, more, sparse);
  return grown;
}
#else
void* pages_grow(void* pages, int64_t bytes, int64_t more, bool sparse) {
  void* grown = pages_allocate(more, sparse);
  if (!grown) return nullptr;
  if (pages && sparse)
    pages_write(grown, pages, bytes);
  else if (pages)
    memcpy(grown, pages, (size_t)bytes);
  pages_free(pages, bytes);
  return grown;
}
#endif

int64_t pages_room(int64_t bytes) {
#if defined(MADV_HUGEPAGE) && !defined(__SANITIZE_ADDRESS__)
  constexpr int64_t kLarge = (int64_t)4 << 20;
  return bytes < kLarge ? bytes : bytes + bytes / 2;
#else
  return bytes;
#endif
}

void pages_write(void* to, const void* from, int64_t bytes) {
  constexpr int64_t kBlock = 4096;
  for (int64_t at = 0; at < bytes; at += kBlock) {
    const size_t n = (size_t)(bytes - at < kBlock ? bytes - at : kBlock);
    if (memcmp((char*)to + at, (const char*)from + at, n) != 0) memcpy((char*)to + at, (const char*)from + at, n);
  }
}

}  // namespace bk
