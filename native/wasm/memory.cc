// The linear memory as arenas, programs and scratch: blocks one after another from __heap_base to `top`, each behind a header. Free
// blocks are a list in the order of their addresses, and no two of them are neighbours; the last block is never free, because then
// `top` is its begin. Only the engine's own thread comes here.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../api.h"
#include "../runtime/pages.h"

extern "C" char __heap_base;  // from the linker: behind data and stack

namespace bk {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kPage = 65536;

struct alignas(kAlign) Block {
  size_t size;  // of header and contents, a multiple of kAlign
  Block* next;  // of a free block: the next free one
};
static_assert(sizeof(Block) == kAlign, "contents are aligned as the headers are");

Block* first_free;
size_t top, written;  // written: memory behind it has never been anybody's and is zero

constexpr uint64_t kMost = 65535ull * kPage;  // 4 GiB without the last page, so that every end has a number
uint64_t limit = kMost;

char* contents(Block* b) { return (char*)(b + 1); }
Block* block_of(void* contents) { return (Block*)contents - 1; }
size_t end_of(const Block* b) { return (size_t)b + b->size; }

/** A block's size for so many bytes; 0 where no memory could hold it. */
size_t size_for(int64_t bytes) { return bytes <= 0 || (uint64_t)bytes > kMost ? 0 : ((size_t)bytes + 2 * kAlign - 1) / kAlign * kAlign; }

/** Lets blocks reach to `end`; false when the limit or the host refuses. */
bool extend(uint64_t end) {
  if (end > limit) return false;
  const size_t have = __builtin_wasm_memory_size(0), need = (size_t)((end + kPage - 1) / kPage);
  if (need > have && __builtin_wasm_memory_grow(0, need - have) == (size_t)-1) return false;
  top = (size_t)end;
  return true;
}

/** Makes what lies from `from` to `to` zeros, as far as somebody has written there before. */
void clear(size_t from, size_t to) {
  if (from < written) memset((void*)from, 0, (to < written ? to : written) - from);
  if (to > written) written = to;
}

/** Takes a free block off the list. */
void take(Block* b) {
  Block** link = &first_free;
  while (*link != b) link = &(*link)->next;
  *link = b->next;
}

void release(Block* b) {
  Block *before = nullptr, *after = first_free;
  while (after && after < b) {
    before = after;
    after = after->next;
  }
  if (after && end_of(b) == (size_t)after) {
    b->size += after->size;
    after = after->next;
  }
  if (before && end_of(before) == (size_t)b) {
    before->size += b->size;
    before->next = after;
    b = before;
  } else {
    b->next = after;
    (before ? before->next : first_free) = b;
  }
  if (end_of(b) != top) return;
  take(b);
  top = (size_t)b;
}

/** Frees what a block has beyond `size`, where that is a block's worth. */
void give_back(Block* b, size_t size) {
  if (b->size < size + 2 * kAlign) return;
  Block* rest = (Block*)((char*)b + size);
  rest->size = b->size - size;
  b->size = size;
  release(rest);
}

/** The free block that ends at this address; null when there is none. */
Block* free_before(size_t address) {
  for (Block* b = first_free; b; b = b->next)
    if (end_of(b) == address) return b;
  return nullptr;
}

/** Makes a block of that size larger without moving it: at the end of all, or over a free block behind it. */
bool grow_in_place(Block* b, size_t size) {
  if (end_of(b) == top) {
    if (!extend((uint64_t)(size_t)b + size)) return false;
    b->size = size;
    return true;
  }
  for (Block* f = first_free; f; f = f->next)
    if ((size_t)f == end_of(b) && (uint64_t)b->size + f->size >= size) {
      take(f);
      b->size += f->size;
      give_back(b, size);
      return true;
    }
  return false;
}

}  // namespace

void* pages_allocate(int64_t bytes, bool) {
  const size_t size = size_for(bytes);
  if (!size) return nullptr;
  if (!top) top = written = ((size_t)&__heap_base + kAlign - 1) / kAlign * kAlign;
  Block* best = nullptr;
  for (Block* b = first_free; b; b = b->next)
    if (b->size >= size && (!best || b->size < best->size)) best = b;
  if (best) {
    take(best);
    give_back(best, size);
  } else {
    best = (Block*)top;
    if (!extend((uint64_t)top + size)) return nullptr;
    best->size = size;
  }
  clear((size_t)contents(best), end_of(best));
  return contents(best);
}

void pages_free(void* pages, int64_t) {
  if (pages) release(block_of(pages));
}

int64_t pages_room(int64_t bytes) { return bytes; }
void* pages_grow(void* pages, int64_t bytes, int64_t more, bool) {
  if (!pages) return pages_allocate(more);
  const size_t size = size_for(more), used = (size_t)bytes;
  if (!size) return nullptr;
  Block* b = block_of(pages);
  if (b->size < size && !grow_in_place(b, size)) {
    // down over the free block before it, where that is enough: nobody needs the memory of two copies
    Block* down = free_before((size_t)b);
    const uint64_t room = down ? (uint64_t)down->size + b->size : 0;
    if (down && (room >= size || (end_of(b) == top && extend((uint64_t)(size_t)down + size)))) {
      take(down);
      down->size = room >= size ? (size_t)room : size;
      memmove(contents(down), pages, used);
      b = down;
      give_back(b, size);
    } else {
      void* grown = pages_allocate(more);
      if (!grown) return nullptr;
      memcpy(grown, pages, used);
      release(b);
      return grown;
    }
  }
  clear((size_t)contents(b) + used, end_of(b));
  return contents(b);
}

void pages_write(void* to, const void* from, int64_t bytes) { memcpy(to, from, (size_t)bytes); }

}  // namespace bk

extern "C" {

void* calloc(size_t count, size_t bytes) { return bk::pages_allocate((int64_t)count * (int64_t)bytes); }
void free(void* block) { bk::pages_free(block, 0); }

void* bk_allocate(size_t bytes) { return bk::pages_allocate((int64_t)bytes); }
void bk_free(void* block) { bk::pages_free(block, 0); }
void bk_limit_memory(uint64_t bytes) { bk::limit = bytes < bk::kMost ? bytes : bk::kMost; }

}  // extern "C"
