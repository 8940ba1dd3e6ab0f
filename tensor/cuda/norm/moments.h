// Mean and variance of channels by parts: each part's moments, then those of their union.
#pragma once

#include <cstdint>

#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {

/// Count, mean and sum of squared deviations of some rows of a channel.
template <class A>
struct Moments {
  A count, mean, deviations;
};

/// Of the union; Chan, Golub and LeVeque (1979).
template <class A>
__device__ Moments<A> merge(const Moments<A>& a, const Moments<A>& b) {
  if (b.count == 0) return a;
  const A count = a.count + b.count, delta = b.mean - a.mean, share = b.count / count;
  return {count, a.mean + delta * share,
          a.deviations + b.deviations + delta * delta * a.count * share};
}

/// mean and variance [C] of the union of partial [chunks, C].
void merge_moments(const Moments<float>* partial, float* mean, float* variance, std::int64_t chunks,
                   std::int64_t C);

}  // namespace gradus::cuda
