// Determinants and inverses of positive definite matrices x [batch, n, n], by Cholesky's
// factorisation x = U^T U in double. A block takes a matrix, so the time grows with n^2, as long as
// there are no more matrices than multiprocessors: meant for n of some hundreds.
#include "tensor/backend/instantiate.h"
#include "tensor/cuda/gemm/gemm.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda {
namespace {

constexpr int block_threads = 256;

/// u [n, n]: the upper triangle becomes U, row by row; a thread computes elements of the row.
/// Returns log det x, NaN where a pivot is not positive.
template <class T>
__device__ double factorise(const T* x, double* u, std::int64_t n) {
  double log_determinant = 0;
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t i = row + threadIdx.x; i < n; i += blockDim.x) {
      double rest = static_cast<double>(x[row * n + i]);
      for (std::int64_t k = 0; k < row; ++k) rest -= u[k * n + row] * u[k * n + i];
      u[row * n + i] = rest;
    }
    __syncthreads();
    const double pivot = u[row * n + row];
    __syncthreads();
    const double root = sqrt(pivot);
    log_determinant += pivot > 0 ? log(pivot) : nan("");
    for (std::int64_t i = row + threadIdx.x; i < n; i += blockDim.x) u[row * n + i] /= root;
    __syncthreads();
  }
  return log_determinant;
}

/// Column c of x^-1 -> columns [n, n], by U^T w = e_c and U column = w; a thread takes a column.
__device__ void solve_column(const double* u, double* columns, std::int64_t n, std::int64_t c) {
  for (std::int64_t i = c; i < n; ++i) {
    double rest = i == c ? 1 : 0;
    for (std::int64_t k = c; k < i; ++k) rest -= u[k * n + i] * columns[k * n + c];
    columns[i * n + c] = rest / u[i * n + i];
  }
  for (std::int64_t i = n - 1; i >= 0; --i) {
    double rest = i >= c ? columns[i * n + c] : 0;
    for (std::int64_t k = i + 1; k < n; ++k) rest -= u[i * n + k] * columns[k * n + c];
    columns[i * n + c] = rest / u[i * n + i];
  }
}

// u and columns [batch, n, n]: scratch
template <class T>
__global__ void logdet_kernel(const T* x, double* u, double* columns, T* y, T* inverse,
                              std::int64_t n) {
  const std::int64_t offset = static_cast<std::int64_t>(blockIdx.x) * n * n;
  const double log_determinant = factorise(x + offset, u + offset, n);
  const bool definite =
      log_determinant == log_determinant;  // otherwise NaN, like all of the inverse
  if (threadIdx.x == 0) y[blockIdx.x] = static_cast<T>(log_determinant);
  for (std::int64_t c = threadIdx.x; c < n; c += blockDim.x) {
    solve_column(u + offset, columns + offset, n, c);
    for (std::int64_t i = 0; i < n; ++i) {
      const double element = columns[offset + i * n + c];
      inverse[offset + i * n + c] = static_cast<T>(definite ? element : log_determinant);
    }
  }
}

}  // namespace

template <class T>
void logdet(const T* x, T* y, T* inverse, std::int64_t batch, std::int64_t n) {
  if (batch == 0) return;
  check_index_size("the matrices of a batch", batch);
  const Scratch<double> u(batch * n * n), columns(batch * n * n);
  const double elements = static_cast<double>(batch) * static_cast<double>(n * n);
  launch("logdet", logdet_kernel<T>, {dim3(static_cast<unsigned>(batch)), dim3(block_threads)},
         {.bytes = 2 * elements * sizeof(T),
          .cached_bytes = 2 * elements * sizeof(double),
          .flops = 7.0 / 3 * elements * static_cast<double>(n),
          .unit = Unit::fp64},
         x, u.data(), columns.data(), y, inverse, n);
}

GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(logdet)

}  // namespace gradus::cuda
