// Maxima over [outer, reduce, inner] to [outer, inner], with their places.
#include "tensor/backend/instantiate.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda {
namespace {

/// A value and where it lies; `beats` orders by value, NaN being largest, then by place.
template <class C>
struct Candidate {
  C value;
  std::int64_t place;

  __device__ bool beats(const Candidate& other) const {
    const bool nan = value != value, other_nan = other.value != other.value;
    if (nan != other_nan) return nan;
    if (value == other.value || nan) return place < other.place;
    return value > other.value;
  }
};

// x [outer, reduce]; a warp takes a result.
template <class T>
__global__ void max_neighbours_kernel(const T* x, T* y, std::int64_t* index, std::int64_t outer,
                                      std::int64_t reduce) {
  using C = Compute<T>;
  for (std::int64_t o = first_row(); o < outer; o += row_stride()) {
    Candidate<C> best{x[o * reduce], 0};
    for (std::int64_t r = threadIdx.x; r < reduce; r += warp) {
      const Candidate<C> candidate{x[o * reduce + r], r};
      if (candidate.beats(best)) best = candidate;
    }
    for (int distance = warp / 2; distance > 0; distance /= 2) {
      const Candidate<C> other{__shfl_xor_sync(all_lanes, best.value, distance),
                               __shfl_xor_sync(all_lanes, best.place, distance)};
      if (other.beats(best)) best = other;
    }
    if (threadIdx.x == 0) {
      y[o] = static_cast<T>(best.value);
      index[o] = best.place;
    }
  }
}

// x [outer, reduce, inner]; a thread takes a result.
template <class T>
__global__ void max_columns_kernel(const T* x, T* y, std::int64_t* index, std::int64_t outer,
                                   std::int64_t reduce, std::int64_t inner) {
  using C = Compute<T>;
  for (auto k = first_index<std::int64_t>(); k < outer * inner; k += index_stride<std::int64_t>()) {
    const T* from = x + k / inner * reduce * inner + k % inner;
    Candidate<C> best{from[0], 0};
    for (std::int64_t r = 1; r < reduce; ++r) {
      const Candidate<C> candidate{from[r * inner], r};
      if (candidate.beats(best)) best = candidate;
    }
    y[k] = static_cast<T>(best.value);
    index[k] = best.place;
  }
}

// dx [outer, reduce, inner], dy and index [outer, inner].
template <class T, class Index>
__global__ void max_backward_kernel(const T* dy, const std::int64_t* index, T* dx, Index items,
                                    Index reduce, Index inner) {
  for (Index i = first_index<Index>(); i < items; i += index_stride<Index>()) {
    const Index row = i / inner;  // o * reduce + r
    const Index o = row / reduce;
    const Index k = o * inner + (i - row * inner);
    const bool here = index[k] == static_cast<std::int64_t>(row - o * reduce);
    dx[i] = here ? dy[k] : static_cast<T>(0);
  }
}

/// Reading or writing [outer, reduce, inner] once, and [outer, inner] with its places.
template <class T>
Work max_work(const ReduceGeometry& g) {
  const double results = static_cast<double>(g.outer) * static_cast<double>(g.inner);
  const double n = results * static_cast<double>(g.reduce);
  return {.bytes = n * sizeof(T) + results * (sizeof(T) + sizeof(std::int64_t)), .flops = n};
}

}  // namespace

template <class T>
void max(const T* x, T* y, std::int64_t* index, const ReduceGeometry& g) {
  const std::int64_t results = g.outer * g.inner;
  if (results == 0) return;
  const Work work = max_work<T>(g);
  if (g.inner == 1) {
    launch("max", max_neighbours_kernel<T>, one_row_each(g.outer, warp), work, x, y, index, g.outer,
           g.reduce);
  } else {
    launch("max", max_columns_kernel<T>, one_thread_each(results), work, x, y, index, g.outer,
           g.reduce, g.inner);
  }
}

template <class T>
void max_backward(const T* dy, const std::int64_t* index, T* dx, const ReduceGeometry& g) {
  const std::int64_t n = g.outer * g.reduce * g.inner;
  if (n == 0) return;
  with_index(n, [&]<class Index>(Index) {
    launch("max_backward", max_backward_kernel<T, Index>, one_thread_each(n), max_work<T>(g), dy,
           index, dx, n, g.reduce, g.inner);
  });
}

GRADUS_INSTANTIATE_FLOATS(max)
GRADUS_INSTANTIATE_FLOATS(max_backward)

}  // namespace gradus::cuda
