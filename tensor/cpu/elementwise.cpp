// Elementwise kernels over the functions of tensor/elementwise.h.
#include <gradus/tensor/elementwise.h>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {

template <class T, class Function>
void unary(Function function, const T* x, T* y, std::int64_t n) {
  parallel_blocks(n, elementwise_grain, [=](auto begin, auto end) {
    for (auto i = begin; i < end; ++i)
      y[i] = static_cast<T>(function.forward(static_cast<Compute<T>>(x[i])));
  });
}

template <class T, class Function>
void unary_backward(Function function, const T* dy, const T* saved, T* dx, std::int64_t n) {
  parallel_blocks(n, elementwise_grain, [=](auto begin, auto end) {
    for (auto i = begin; i < end; ++i) {
      const Compute<T> s = Function::saves == Saves::nothing ? T{0} : saved[i];
      dx[i] = static_cast<T>(function.backward(static_cast<Compute<T>>(dy[i]), s));
    }
  });
}

namespace {

/// One run of the innermost axis; strides are 0 or 1 in the common cases, which vectorise.
template <class T, class R, class Function>
void binary_run(Function function, const T* a, std::int64_t stride_a, const T* b,
                std::int64_t stride_b, R* y, std::int64_t n) {
  if (stride_a == 1 && stride_b == 1) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = function(a[i], b[i]);
  } else if (stride_a == 1 && stride_b == 0) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = function(a[i], b[0]);
  } else if (stride_a == 0 && stride_b == 1) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = function(a[0], b[i]);
  } else {
    for (std::int64_t i = 0; i < n; ++i) y[i] = function(a[i * stride_a], b[i * stride_b]);
  }
}

}  // namespace

template <class T, class Function>
void binary(Function function, const T* a, const T* b, BinaryResult<Function, T>* y,
            const StridedGeometry& g) {
  if (g.numel == 0) return;
  const int last = g.rank - 1;
  const std::int64_t stride_a = g.stride_a[last], stride_b = g.stride_b[last];
  if (g.rank == 1) {
    parallel_blocks(g.numel, elementwise_grain, [=](auto begin, auto end) {
      binary_run(function, a + begin * stride_a, stride_a, b + begin * stride_b, stride_b,
                 y + begin, end - begin);
    });
    return;
  }
  const std::int64_t columns = g.size[last];
  parallel_rows(g.numel / columns, columns, [=, &g](std::int64_t row) {
    const RowOffsets<std::int64_t> offsets = row_offsets(g, row);
    binary_run(function, a + offsets.a, stride_a, b + offsets.b, stride_b, y + row * columns,
               columns);
  });
}

template <class T>
void where(const std::uint8_t* condition, const T* a, const T* b, T* y, std::int64_t n) {
  parallel_blocks(n, elementwise_grain, [=](auto begin, auto end) {
    for (auto i = begin; i < end; ++i) y[i] = condition[i] ? a[i] : b[i];
  });
}

template <class T>
void add_scaled(Compute<T> scale, const T* x, T* y, std::int64_t n) {
  parallel_blocks(n, elementwise_grain, [=](auto begin, auto end) {
    for (auto i = begin; i < end; ++i) y[i] = static_cast<T>(y[i] + scale * x[i]);
  });
}

GRADUS_UNARY_FUNCTIONS(GRADUS_INSTANTIATE_UNARY)
GRADUS_ARITHMETIC_FUNCTIONS(GRADUS_INSTANTIATE_ARITHMETIC)
GRADUS_COMPARISON_FUNCTIONS(GRADUS_INSTANTIATE_COMPARISON)
GRADUS_INSTANTIATE_FLOATS(where)
GRADUS_INSTANTIATE_FLOATS(add_scaled)

}  // namespace gradus::cpu
