// api.h as a table of functions: of this addon's own kernels, or of a library that was opened at run time.
#pragma once
#include <string>

#include "api.h"

namespace bk {

/** What api.h declares, without bk_. */
#define BK_FUNCTIONS(F) \
  F(ops_hash)           \
  F(open)               \
  F(close)              \
  F(describe)           \
  F(memory_create)      \
  F(memory_free)        \
  F(memory_reserve)     \
  F(memory_release)     \
  F(memory_write)       \
  F(memory_read)        \
  F(program_create)     \
  F(program_free)       \
  F(program_records)    \
  F(run_start)          \
  F(run_cancel)         \
  F(measure_peak)

struct Library {
#define BK_MEMBER(name) decltype(&bk_##name) name;
  BK_FUNCTIONS(BK_MEMBER)
#undef BK_MEMBER
};

/** The CPU's, which are in the addon. */
const Library* own_library();

/**
 * Opens a library, which stays in the process; null with a sentence where that fails, where functions are missing in it, or where it was
 * made for another list of ops.
 */
const Library* open_library(const std::string& file, std::string* message);

}  // namespace bk
