// Sums off the diagonals of square matrices x [batch, n, n]: a block takes whole rows, one after
// another.
#include "tensor/backend/instantiate.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda {
namespace {

constexpr int block_threads = 256;

// x [rows = batch n, n] -> partial [blocks]
template <class T, int width>
__global__ void off_diagonal_kernel(const T* x, double* partial, std::int64_t rows,
                                    std::int64_t n) {
  using A = Compute<T>;
  double sum = 0;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const std::int64_t diagonal = row % n;
    for (std::int64_t column = threadIdx.x * width; column < n; column += block_threads * width) {
      const Vector<T, width> values = load_vector<width>(x + row * n + column);
      A squares = 0;
      for (int i = 0; i < width; ++i) {
        const A value = column + i == diagonal ? A{0} : static_cast<A>(values[i]);
        squares += value * value;
      }
      sum += static_cast<double>(squares);
    }
  }
  __shared__ SharedArray<double, warp> scratch;
  sum = row_combine<block_threads>(AddBoth{}, sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// partial [blocks] -> y []
template <class A>
__global__ void off_diagonal_finish_kernel(const double* partial, int blocks, A* y) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < blocks; i += block_threads) sum += partial[i];
  __shared__ SharedArray<double, warp> scratch;
  sum = row_combine<block_threads>(AddBoth{}, sum, scratch);
  if (threadIdx.x == 0) *y = static_cast<A>(sum);
}

// dy [], x [rows = batch n, n] -> dx, likewise
template <class T, int width>
__global__ void off_diagonal_backward_kernel(const Compute<T>* dy, const T* x, T* dx,
                                             std::int64_t rows, std::int64_t n) {
  using A = Compute<T>;
  const A scale = 2 * *dy;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const std::int64_t diagonal = row % n;
    for (std::int64_t column = threadIdx.x * width; column < n; column += block_threads * width) {
      Vector<T, width> values = load_vector<width>(x + row * n + column);
      for (int i = 0; i < width; ++i) {
        values[i] =
            static_cast<T>(column + i == diagonal ? A{0} : scale * static_cast<A>(values[i]));
      }
      store_vector(dx + row * n + column, values);
    }
  }
}

/// At most eight blocks a multiprocessor, each with at least one row.
LaunchShape shape_of(std::int64_t rows) {
  const std::int64_t most = std::int64_t{8} * multiprocessor_count();
  return {dim3(static_cast<unsigned>(std::clamp<std::int64_t>(rows, 1, most))),
          dim3(block_threads)};
}

template <class T>
Work work_of(std::int64_t rows, std::int64_t n, double arrays, double flops_each) {
  const double numel = static_cast<double>(rows) * static_cast<double>(n);
  return {.bytes = arrays * numel * sizeof(T),
          .flops = flops_each * numel,
          .unit = sizeof(T) == 8 ? Unit::fp64 : Unit::fp32};
}

}  // namespace

template <class T>
void off_diagonal_square_sum(const T* x, Compute<T>* y, std::int64_t batch, std::int64_t n) {
  const std::int64_t rows = batch * n;
  const LaunchShape shape = shape_of(rows);
  Scratch<double> partial(shape.grid.x);
  with_vector_size<T>(
      n,
      [&]<int width>() {
        launch("off_diagonal_square_sum", off_diagonal_kernel<T, width>, shape,
               work_of<T>(rows, n, 1, 2), x, partial.data(), rows, n);
      },
      x);
  launch("off_diagonal_square_sum finish", off_diagonal_finish_kernel<Compute<T>>,
         {dim3(1), dim3(block_threads)},
         Work{.bytes = sizeof(Compute<T>), .cached_bytes = 8.0 * shape.grid.x}, partial.data(),
         static_cast<int>(shape.grid.x), y);
}

template <class T>
void off_diagonal_square_sum_backward(const Compute<T>* dy, const T* x, T* dx, std::int64_t batch,
                                      std::int64_t n) {
  const std::int64_t rows = batch * n;
  with_vector_size<T>(
      n,
      [&]<int width>() {
        launch("off_diagonal_square_sum_backward", off_diagonal_backward_kernel<T, width>,
               shape_of(rows), work_of<T>(rows, n, 2, 1), dy, x, dx, rows, n);
      },
      x, dx);
}

GRADUS_INSTANTIATE_FLOATS(off_diagonal_square_sum)
GRADUS_INSTANTIATE_FLOATS(off_diagonal_square_sum_backward)

}  // namespace gradus::cuda
