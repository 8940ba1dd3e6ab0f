// fill, cast, copies, gather and scatter of rows.
#include <cmath>
#include <cstring>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {

template <class T>
void fill(T* y, T value, std::int64_t n) {
  parallel_blocks(n, elementwise_grain, [=](auto begin, auto end) {
    const T element = value;  // which no store to y can change: stores become vectors
    for (auto i = begin; i < end; ++i) y[i] = element;
  });
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
  parallel_rows(rows, columns, [=](std::int64_t i) {
    std::memcpy(y + i * y_stride, x + i * x_stride, sizeof(T) * columns);
  });
}

template <class T>
void strided_copy(const T* x, T* y, const StridedGeometry& g) {
  if (g.numel == 0) return;
  const std::int64_t columns = g.size[g.rank - 1], stride = g.stride_a[g.rank - 1];
  parallel_rows(g.numel / columns, columns, [=, &g](std::int64_t row) {
    const T* from = x + row_offsets(g, row).a;
    T* to = y + row * columns;
    for (std::int64_t i = 0; i < columns; ++i) to[i] = from[i * stride];
  });
}

template <class T>
void gather_rows(const T* x, const std::int64_t* index, T* y, std::int64_t rows,
                 std::int64_t columns) {
  if (columns == 0) return;
  parallel_rows(rows, columns, [=](std::int64_t i) {
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

GRADUS_INSTANTIATE_ALL_TYPES(fill)
GRADUS_INSTANTIATE_ALL_TYPES(cast, float)
GRADUS_INSTANTIATE_ALL_TYPES(cast, double)
GRADUS_INSTANTIATE_ALL_TYPES(cast, BFloat16)
GRADUS_INSTANTIATE_ALL_TYPES(cast, std::uint8_t)
GRADUS_INSTANTIATE_ALL_TYPES(cast, std::int64_t)
GRADUS_INSTANTIATE_ALL_TYPES(copy_rows)
GRADUS_INSTANTIATE_ALL_TYPES(strided_copy)
GRADUS_INSTANTIATE_ALL_TYPES(gather_rows)
GRADUS_INSTANTIATE_ALL_TYPES(one_hot)
GRADUS_INSTANTIATE_FLOATS(all_finite)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(scatter_add_rows)

}  // namespace gradus::cpu
