// fill, cast, copies, gather and scatter of rows.
#include <cmath>
#include <cstring>

#include "tensor/backend/kernels.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {

template <class T>
void fill(T* y, T value, std::int64_t n) {
  parallel_blocks(n, elementwise_grain,
                  [=](auto begin, auto end) { std::fill(y + begin, y + end, value); });
}

template <class From, class To>
void cast(const From* x, To* y, std::int64_t n) {
  parallel_blocks(n, elementwise_grain, [=](auto begin, auto end) {
    for (auto i = begin; i < end; ++i) y[i] = static_cast<To>(x[i]);
  });
}

template <class T>
void copy_rows(const T* x, std::int64_t x_stride, T* y, std::int64_t y_stride, std::int64_t rows,
               std::int64_t columns) {
  if (columns == 0) return;
  const std::int64_t grain = std::max<std::int64_t>(1, elementwise_grain / columns);
  parallel_blocks(rows, grain, [=](auto begin, auto end) {
    for (auto i = begin; i < end; ++i)
      std::memcpy(y + i * y_stride, x + i * x_stride, sizeof(T) * columns);
  });
}

template <class T>
void strided_copy(const T* x, T* y, const StridedGeometry& g) {
  if (g.numel == 0) return;
  const int last = g.rank - 1;
  const std::int64_t columns = g.rank == 0 ? 1 : g.size[last];
  const std::int64_t stride = g.rank == 0 ? 0 : g.stride_a[last];
  const std::int64_t grain = std::max<std::int64_t>(1, elementwise_grain / columns);
  parallel_blocks(g.numel / columns, grain, [=, &g](auto begin, auto end) {
    for (auto row = begin; row < end; ++row) {
      std::int64_t offset = 0;
      for (std::int64_t axis = last - 1, rest = row; axis >= 0; --axis) {
        offset += rest % g.size[axis] * g.stride_a[axis];
        rest /= g.size[axis];
      }
      const T* from = x + offset;
      T* to = y + row * columns;
      for (std::int64_t i = 0; i < columns; ++i) to[i] = from[i * stride];
    }
  });
}

template <class T>
void gather_rows(const T* x, const std::int64_t* index, T* y, std::int64_t rows,
                 std::int64_t columns) {
  if (columns == 0) return;
  const std::int64_t grain = std::max<std::int64_t>(1, elementwise_grain / columns);
  parallel_blocks(rows, grain, [=](auto begin, auto end) {
    for (auto i = begin; i < end; ++i)
      std::memcpy(y + i * columns, x + index[i] * columns, sizeof(T) * columns);
  });
}

template <class T>
void scatter_add_rows(const T* x, const std::int64_t* index, T* y, std::int64_t rows,
                      std::int64_t columns) {
  // Blocks of columns are independent; within one, rows are added in order.
  parallel_blocks(columns, 256, [=](auto begin, auto end) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const T* from = x + i * columns;
      T* to = y + index[i] * columns;
      for (auto j = begin; j < end; ++j) to[j] += from[j];
    }
  });
}

template <class T>
void one_hot(const std::int64_t* index, T* y, std::int64_t rows, std::int64_t columns) {
  fill(y, T{0}, rows * columns);
  for (std::int64_t i = 0; i < rows; ++i) y[i * columns + index[i]] = static_cast<T>(1);
}

template <class T>
void all_finite(const T* x, std::int64_t n, bool* result) {
  // x * 0 is 0 for finite x and NaN otherwise, so one sum decides, vectorised.
  bool finite = true;
#pragma omp parallel for reduction(&& : finite)
  for (std::int64_t begin = 0; begin < n; begin += elementwise_grain) {
    const std::int64_t end = std::min(n, begin + elementwise_grain);
    Compute<T> sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = begin; i < end; ++i) sum += x[i] * Compute<T>{0};
    finite = finite && sum == 0;
  }
  *result = finite;
}

#define GRADUS_INSTANTIATE_ANY(T)                                                                \
  template void fill(T*, T, std::int64_t);                                                       \
  template void cast(const T*, float*, std::int64_t);                                            \
  template void cast(const T*, double*, std::int64_t);                                           \
  template void cast(const T*, BFloat16*, std::int64_t);                                         \
  template void cast(const T*, std::uint8_t*, std::int64_t);                                     \
  template void cast(const T*, std::int64_t*, std::int64_t);                                     \
  template void copy_rows(const T*, std::int64_t, T*, std::int64_t, std::int64_t, std::int64_t); \
  template void strided_copy(const T*, T*, const StridedGeometry&);                              \
  template void gather_rows(const T*, const std::int64_t*, T*, std::int64_t, std::int64_t);      \
  template void one_hot(const std::int64_t*, T*, std::int64_t, std::int64_t);
GRADUS_INSTANTIATE_ANY(float)
GRADUS_INSTANTIATE_ANY(double)
GRADUS_INSTANTIATE_ANY(BFloat16)
GRADUS_INSTANTIATE_ANY(std::uint8_t)
GRADUS_INSTANTIATE_ANY(std::int64_t)
template void all_finite(const float*, std::int64_t, bool*);
template void all_finite(const double*, std::int64_t, bool*);
template void all_finite(const BFloat16*, std::int64_t, bool*);
template void scatter_add_rows(const float*, const std::int64_t*, float*, std::int64_t,
                               std::int64_t);
template void scatter_add_rows(const double*, const std::int64_t*, double*, std::int64_t,
                               std::int64_t);

}  // namespace gradus::cpu
