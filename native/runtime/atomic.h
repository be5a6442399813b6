// std::atomic's operations, for code that is also compiled where there is no C++ library.
#pragma once

namespace bk {

template <class T>
struct Atomic {
  T value;

  T load(int order = __ATOMIC_SEQ_CST) const { return __atomic_load_n(&value, order); }
  void store(T to, int order = __ATOMIC_SEQ_CST) { __atomic_store_n(&value, to, order); }
  /** Both return the value of before. */
  T fetch_add(T n, int order = __ATOMIC_SEQ_CST) { return __atomic_fetch_add(&value, n, order); }
  T fetch_sub(T n, int order = __ATOMIC_SEQ_CST) { return __atomic_fetch_sub(&value, n, order); }
  /** May fail without a reason; `expected` is then what was there. */
  bool compare_exchange(T& expected, T desired, int order = __ATOMIC_SEQ_CST, int failure = __ATOMIC_SEQ_CST) {
    return __atomic_compare_exchange_n(&value, &expected, desired, true, order, failure);
  }
};

}  // namespace bk
