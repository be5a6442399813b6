// Messages. The same words on every backend, also where there is no printf.
#pragma once
#include <stdarg.h>
#include <stddef.h>

namespace bk {

/**
 * printf's %d, %lld, %zu, %s, %.Ns and %g, as far as messages need them; at most `capacity` bytes, always terminated. %g is six digits
 * without trailing zeros. Returns the length written.
 */
int write_text(char* out, size_t capacity, const char* format, ...) __attribute__((format(printf, 3, 4)));
int write_text_list(char* out, size_t capacity, const char* format, va_list values);

}  // namespace bk
