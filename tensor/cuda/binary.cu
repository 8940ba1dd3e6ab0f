// Binary functions of tensor/elementwise.h, with broadcasting.
#include <gradus/tensor/elementwise.h>
#include "tensor/backend/instantiate.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/map.h"

namespace gradus::cuda {
namespace {

/// `width` elements of an operand along the last axis, or one value for all of them.
template <int width, class T>
__device__ Vector<T, width> load_operand(const T* p, bool repeats) {
  if (!repeats) return load_vector<width>(p);
  const T value = *p;
  Vector<T, width> v;
#pragma unroll
  for (int k = 0; k < width; ++k) v[k] = value;
  return v;
}

// y [rows, last axis]; a thread takes `width` neighbours of the last axis.
template <int width, class Index, class T, class Function>
__global__ void binary_strided_kernel(Function function, const T* a, const T* b,
                                      BinaryResult<Function, T>* y, StridedGeometry g) {
  const int last = g.rank - 1;
  const Index columns = static_cast<Index>(g.size[last] / width);
  const Index step_a = static_cast<Index>(g.stride_a[last]);
  const Index step_b = static_cast<Index>(g.stride_b[last]);
  const Index items = static_cast<Index>(g.numel / width);
  for (Index i = first_index<Index>(); i < items; i += index_stride<Index>()) {
    const Index row = i / columns;
    const Index column = (i - row * columns) * width;
    const RowOffsets<Index> offsets = row_offsets(g, row);
    const auto u = load_operand<width>(a + (offsets.a + column * step_a), step_a == 0);
    const auto v = load_operand<width>(b + (offsets.b + column * step_b), step_b == 0);
    Vector<BinaryResult<Function, T>, width> result;
#pragma unroll
    for (int k = 0; k < width; ++k) result[k] = function(u[k], v[k]);
    store_vector(y + static_cast<std::int64_t>(i) * width, result);
  }
}

/// Whether an operand can be read in vectors along the last axis.
template <class T>
bool reads_vectors(const T* p, const std::array<std::int64_t, 8>& stride, int rank, int width) {
  if (stride[rank - 1] == 0) return true;
  bool fits = stride[rank - 1] == 1 && is_aligned(p, width);
  for (int axis = 0; axis < rank - 1; ++axis) fits = fits && stride[axis] % width == 0;
  return fits;
}

/// Elements of an operand, each counted once.
double distinct_elements(const StridedGeometry& g, const std::array<std::int64_t, 8>& stride) {
  double count = 1;
  for (int axis = 0; axis < g.rank; ++axis)
    if (stride[axis] != 0) count *= static_cast<double>(g.size[axis]);
  return count;
}

}  // namespace

template <class T, class Function>
void binary(Function function, const T* a, const T* b, BinaryResult<Function, T>* y,
            const StridedGeometry& g) {
  using R = BinaryResult<Function, T>;
  if (g.numel == 0) return;
  if (g.rank == 1 && g.stride_a[0] == 1 && g.stride_b[0] == 1) {
    map("binary", function, y, g.numel, a, b);
    return;
  }
  constexpr int width = vector_size<T>;
  const bool vectors = g.size[g.rank - 1] % width == 0 && is_aligned(y, width) &&
                       reads_vectors(a, g.stride_a, g.rank, width) &&
                       reads_vectors(b, g.stride_b, g.rank, width);
  const double n = static_cast<double>(g.numel);
  const double inputs = distinct_elements(g, g.stride_a) + distinct_elements(g, g.stride_b);
  const Work work{.bytes = n * sizeof(R) + inputs * sizeof(T), .flops = n};
  with_index(g.numel, [&]<class Index>(Index) {
    if (vectors) {
      launch("binary_broadcast", binary_strided_kernel<width, Index, T, Function>,
             one_thread_each(g.numel / width), work, function, a, b, y, g);
    } else {
      launch("binary_broadcast", binary_strided_kernel<1, Index, T, Function>,
             one_thread_each(g.numel), work, function, a, b, y, g);
    }
  });
}

GRADUS_ARITHMETIC_FUNCTIONS(GRADUS_INSTANTIATE_ARITHMETIC)
GRADUS_COMPARISON_FUNCTIONS(GRADUS_INSTANTIATE_COMPARISON)

}  // namespace gradus::cuda
