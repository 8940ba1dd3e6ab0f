// y[i] = op(x0[i], x1[i], ...) on contiguous arrays, the form of most elementwise kernels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"

namespace gradus::cuda {

/// Whether p can be read or written `width` elements at a time.
template <class T>
bool is_aligned(const T* p, int width) {
  return reinterpret_cast<std::uintptr_t>(p) % (sizeof(T) * static_cast<unsigned>(width)) == 0;
}

// x, y [n]; a thread takes `width` neighbours at a time, and some threads one of the last n %
// width.
template <int width, class Op, class R, class... In>
__global__ void map_kernel(Op op, R* y, std::int64_t n, const In*... x) {
  const std::int64_t first = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x;
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  const std::int64_t vectors = n / width;
  for (std::int64_t i = first; i < vectors; i += stride) {
    const auto apply = [&](const Vector<In, width>&... inputs) {
      Vector<R, width> result;
#pragma unroll
      for (int k = 0; k < width; ++k) result[k] = op(inputs[k]...);
      store_vector(y + i * width, result);
    };
    apply(load_vector<width>(x + i * width)...);
  }
  for (std::int64_t i = vectors * width + first; i < n; i += stride) y[i] = op(x[i]...);
}

/// Launches y[i] = op(x[i]...) for i < n, 16 bytes of the widest type at a time if all arrays are
/// aligned to that. y may be one of x.
template <class Op, class R, class... In>
void map(const char* name, Op op, R* y, std::int64_t n, const In*... x) {
  if (n == 0) return;
  constexpr int width = 16 / static_cast<int>(std::max({sizeof(R), sizeof(In)...}));
  const double elements = static_cast<double>(n);
  const Work work{.bytes = elements * static_cast<double>((sizeof(R) + ... + sizeof(In))),
                  .flops = elements};
  if ((is_aligned(y, width) && ... && is_aligned(x, width))) {
    launch(name, map_kernel<width, Op, R, In...>, one_thread_each(divide_up(n, width)), work, op, y,
           n, x...);
  } else {
    launch(name, map_kernel<1, Op, R, In...>, one_thread_each(n), work, op, y, n, x...);
  }
}

}  // namespace gradus::cuda
