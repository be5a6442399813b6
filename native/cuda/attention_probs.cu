// The probabilities of attention and cross_attention (attention.cu), from the saved lse; only for callers that ask to see them.
#include "attention_plain.cuh"

namespace bk {
namespace cuda {
using namespace heads;
namespace {

/** [A, queries, keys] for each sequence in turn. A block is one query of one head. */
template <class T>
__global__ void __launch_bounds__(plain::kThreads) probabilities(Sequences<T> s, const float* lse, float* probs) {
  if (blockIdx.x == 0 && blockIdx.y == 0) s.check();
  if (!s.find(blockIdx.x, Blocks{1, false})) return;
  const Place& place = block_place();
  const Head<T>& h = Head<T>::of(s, place, blockIdx.y);
  const int i = place.part;
  const long long before = s.pairs_before(place.sequence), mine = (long long)h.Lq * h.L;
  if (before + mine > *s.pairs) return;  // the run fails
  float* row = probs + before * s.A + h.head * mine + (int64_t)i * h.L;
  const float of_row = lse[(h.first_query + i) * s.A + h.head];
  for (int j = threadIdx.x / kWarp; j < h.L; j += plain::kWarps) {
    const float p = plain::probability(s, h, i, j, of_row);
    if (threadIdx.x % kWarp == 0) row[j] = h.keeps(s, i, j) ? p * h.drop.scale : 0.0f;
  }
}

template <class T>
Status attend_probs(Launch& launch, const Sequences<T>& s, const float* lse, float* probs) {
  launch(probabilities<T>, s.grid({1, false}), plain::kThreads, 0, s, lse, probs);
  return kOk;
}

}  // namespace

Status attention_probs(Launch& launch, Operands c) {
  return with_type(type_after(BK_PLACE(attention_probs, type), c), [&](auto element) {
    typedef decltype(element) T;
    const T* qkv = (T*)c.any();
    const float* lse = c.f32();
    const int32_t *cu_seqlens = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    float* probs = c.f32();
    auto s = Sequences<T>::self(qkv, cu_seqlens, key_mask, keep);
    s.options(launch, c, true);
    return attend_probs(launch, s, lse, probs);
  });
}

Status cross_attention_probs(Launch& launch, Operands c) {
  return with_type(type_after(BK_PLACE(cross_attention_probs, type), c), [&](auto element) {
    typedef decltype(element) T;
    const T *q = (T*)c.any(), *kv = (T*)c.any();
    const float* lse = c.f32();
    const int32_t *cu_queries = c.i32(), *cu_keys = c.i32(), *key_mask = c.i32(), *keep = c.i32();
    float* probs = c.f32();
    auto s = Sequences<T>::cross(q, kv, cu_queries, cu_keys, key_mask, keep);
    s.options(launch, c, true);
    return attend_probs(launch, s, lse, probs);
  });
}

}  // namespace cuda
}  // namespace bk
