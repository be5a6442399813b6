#include "text.h"

#include <stdint.h>

namespace bk {
namespace {

struct Writer {
  char* out;
  size_t capacity, length;

  void put(char c) {
    if (length + 1 < capacity) out[length++] = c;
  }
  void text(const char* s, int most) {
    for (; *s && most > 0; s++, most--) put(*s);
  }
  void digits(uint64_t n) {
    if (n >= 10) digits(n / 10);
    put((char)('0' + n % 10));
  }
  void integer(int64_t n) {
    if (n < 0) put('-');
    digits(n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
  }
  void real(double x) {
    if (x != x) return text("nan", 3);
    if (x < 0) put('-');
    if (x < 0) x = -x;
    if (x > 1.7976931348623157e308) return text("inf", 3);
    int exponent = 0;  // x = mantissa * 10^exponent with 1 <= mantissa < 10
    double mantissa = x;
    for (; mantissa >= 10; exponent++) mantissa /= 10;
    for (; mantissa > 0 && mantissa < 1; exponent--) mantissa *= 10;
    int64_t six = (int64_t)(mantissa * 100000 + 0.5);
    if (six >= 1000000) {
      six /= 10;
      exponent++;
    }
    const bool scientific = exponent < -4 || exponent > 5;
    char digit[6];
    for (int i = 5; i >= 0; i--, six /= 10) digit[i] = (char)('0' + six % 10);
    int last = 5;
    while (last > 0 && digit[last] == '0') last--;
    const int whole = scientific ? 0 : exponent;  // place of the digit before the point
    if (whole < 0) put('0');
    for (int i = whole < 0 ? whole + 1 : 0; i <= last || i <= whole; i++) {
      if (i == whole + 1) put('.');
      put(i < 0 ? '0' : digit[i]);
    }
    if (!scientific) return;
    text(exponent < 0 ? "e-" : "e+", 2);
    if (exponent < 0) exponent = -exponent;
    if (exponent < 10) put('0');
    digits((uint64_t)exponent);
  }
};

}  // namespace

int write_text(char* out, size_t capacity, const char* format, ...) {
  va_list values;
  va_start(values, format);
  const int length = write_text_list(out, capacity, format, values);
  va_end(values);
  return length;
}

int write_text_list(char* out, size_t capacity, const char* format, va_list values) {
  Writer w = {out, capacity, 0};
  for (; *format; format++) {
    if (*format != '%') {
      w.put(*format);
      continue;
    }
    format++;
    int most = INT32_MAX;
    if (*format == '.')
      for (most = 0, format++; *format >= '0' && *format <= '9'; format++) most = 10 * most + (*format - '0');
    if (*format == 's') w.text(va_arg(values, const char*), most);
    if (*format == 'd') w.integer(va_arg(values, int));
    if (*format == 'g') w.real(va_arg(values, double));
    if (*format == 'l') {  // lld
      w.integer(va_arg(values, long long));
      format += 2;
    }
    if (*format == 'z') {  // zu
      w.digits(va_arg(values, size_t));
      format++;
    }
  }
  if (capacity) out[w.length] = 0;
  return (int)w.length;
}

}  // namespace bk
