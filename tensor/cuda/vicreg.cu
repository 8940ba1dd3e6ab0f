// The VICReg loss in three kernels, beside those of its products (tensor/ops/vicreg.cpp).
#include "tensor/backend/instantiate.h"
#include "tensor/cuda/gemm/gemm.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda {
namespace {

// Threads of a block of columns_kernel: so few columns, a sector's, that there are many blocks.
constexpr int columns = 8, rows = 64;

// z, centred [V, N, D], variance [V, D], spread [D]: a block takes `columns` of all views.
template <class T>
__global__ void __launch_bounds__(columns* rows, 2)
    columns_kernel(const T* z, T* centred, T* variance, T* spread, VICRegProblem p) {
  __shared__ SharedArray<T, columns * rows> scratch;
  const int column = static_cast<int>(blockIdx.x) * columns + static_cast<int>(threadIdx.x);
  const int y = static_cast<int>(threadIdx.y), D = static_cast<int>(p.D);
  const bool inside = column < D;
  const int N = inside ? static_cast<int>(p.N) : 0;  // all threads come to the barriers
  const std::int64_t view = p.N * p.D, first = std::int64_t{y} * D + column,
                     step = std::int64_t{rows} * D;
  T distances = 0;
  const T* at = z + first;
  for (int i = y; i < N; i += rows, at += step) distances += spread_of_views(at, view, p.V);
  distances = column_sum(distances, scratch);
  if (y == 0 && inside) spread[column] = distances;
  for (int v = 0; v < p.V; ++v, z += view, centred += view, variance += D) {
    T sum = 0, squares = 0;
    at = z + first;
    for (int i = y; i < N; i += rows, at += step) sum += *at;
    column_sum(sum, scratch);
    __syncthreads();
    const T total = scratch[static_cast<int>(threadIdx.x)];
    const T mean = total / static_cast<T>(p.N);
    at = z + first;
    T* to = centred + first;
    for (int i = y; i < N; i += rows, at += step, to += step) {
      const T value = *at - mean;
      *to = value;
      squares += value * value;
    }
    squares = column_sum(squares, scratch);
    if (y == 0 && inside) variance[column] = squares / static_cast<T>(p.N - 1);
  }
}

constexpr int value_threads = 256;

// spread [D], off_diagonal [], variance [V, D], scatter [V, D, D] -> values [4], in one block
template <class T>
__global__ void values_kernel(const T* spread, const T* off_diagonal, T* variance, T* scatter,
                              T* values, VICRegProblem p) {
  __shared__ SharedArray<double, warp> scratch;
  double distances = 0, hinges = 0;
  for (std::int64_t j = threadIdx.x; j < p.D; j += value_threads)
    distances += static_cast<double>(spread[j]);
  for (std::int64_t j = threadIdx.x; j < p.V * p.D; j += value_threads) {
    const StdHinge<T> hinge(variance[j], p.eps);
    hinges += static_cast<double>(hinge.value);
    variance[j] = hinge.inverse;
    scatter[j * p.D + j % p.D] = 0;
  }
  distances = row_combine<value_threads>(AddBoth{}, distances, scratch);
  hinges = row_combine<value_threads>(AddBoth{}, hinges, scratch);
  if (threadIdx.x == 0)
    write_vicreg_values(distances, hinges, static_cast<double>(*off_diagonal), values, p);
}

// dvalues [4], z, centred [V, N, D], inverse_std [V, D]; dz [V, N, D] is read and written. A thread
// takes all views of a number.
template <class T>
__global__ void gradient_kernel(const T* dvalues, const T* z, const T* centred,
                                const T* inverse_std, T* dz, VICRegProblem p) {
  const VICRegGradient<T> gradient(dvalues, p);
  const std::int64_t view = p.N * p.D;
  for (auto i = first_index<std::int64_t>(); i < view; i += index_stride<std::int64_t>())
    gradient.write(z + i, centred + i, inverse_std + i % p.D, dz + i, view, p);
}

/// Of a kernel that moves so many arrays of z's size, with so many operations an element.
template <class T>
Work work_of(const VICRegProblem& p, double arrays, double flops_each) {
  const double numel = static_cast<double>(p.V * p.N) * static_cast<double>(p.D);
  return {.bytes = arrays * numel * sizeof(T),
          .flops = flops_each * numel,
          .unit = sizeof(T) == 8 ? Unit::fp64 : Unit::fp32};
}

}  // namespace

template <class T>
void vicreg_columns(const T* z, T* centred, T* variance, T* spread, const VICRegProblem& p) {
  check_index_size("the images of a batch", p.N + rows);
  launch("vicreg columns", columns_kernel<T>,
         {dim3(static_cast<unsigned>(divide_up(p.D, columns))), dim3(columns, rows)},
         work_of<T>(p, 2, 8), z, centred, variance, spread, p);
}

template <class T>
void vicreg_values(const T* spread, const T* off_diagonal, T* variance, T* scatter, T* values,
                   const VICRegProblem& p) {
  const double dimensions = static_cast<double>(p.D), views = static_cast<double>(p.V);
  launch("vicreg values", values_kernel<T>, {dim3(1), dim3(value_threads)},
         Work{.bytes = (1 + 3 * views) * dimensions * sizeof(T)}, spread, off_diagonal, variance,
         scatter, values, p);
}

template <class T>
void vicreg_backward(const T* dvalues, const T* z, const T* centred, const T* inverse_std, T* dz,
                     const VICRegProblem& p) {
  launch("vicreg gradient", gradient_kernel<T>, one_thread_each(p.N * p.D), work_of<T>(p, 4, 9),
         dvalues, z, centred, inverse_std, dz, p);
}

GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(vicreg_columns)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(vicreg_values)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(vicreg_backward)

}  // namespace gradus::cuda
