#include "tensor/cuda/gemm/gemm.h"

#include <algorithm>
#include <limits>

#include <gradus/tensor/check.h>
#include "tensor/backend/instantiate.h"
#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {
namespace {

/// A size as cuBLAS takes it.
int blas_size(std::int64_t size) {
  check_index_size("a matrix's side, row stride or batch", size);
  return static_cast<int>(size);
}

/// A distance between rows; cuBLAS wants 1 even where a row is empty.
int row_stride(std::int64_t stride) { return blas_size(std::max<std::int64_t>(stride, 1)); }

template <class T>
constexpr cudaDataType_t data_type = CUDA_R_32F;
template <>
constexpr cudaDataType_t data_type<double> = CUDA_R_64F;
template <>
constexpr cudaDataType_t data_type<BFloat16> = CUDA_R_16BF;

struct Arithmetic {
  cublasComputeType_t type;
  Unit unit;
};

template <class T>
Arithmetic arithmetic() {
  if constexpr (std::is_same_v<T, double>) return {CUBLAS_COMPUTE_64F, Unit::fp64};
  if constexpr (std::is_same_v<T, BFloat16>) return {CUBLAS_COMPUTE_32F, Unit::bf16};
  if (tf32_allowed()) return {CUBLAS_COMPUTE_32F_FAST_TF32, Unit::tf32};
  return {CUBLAS_COMPUTE_32F, Unit::fp32};
}

template <class T, class Out>
Work work_of(const GemmShape& g, Unit unit) {
  const auto batch = static_cast<double>(g.batch);
  const auto m = static_cast<double>(g.m), n = static_cast<double>(g.n);
  const auto k = static_cast<double>(g.k);
  Work work{.flops = 2 * batch * m * n * k, .unit = unit};
  const auto add = [&](bool cached, double bytes) {
    (cached ? work.cached_bytes : work.bytes) += bytes;
  };
  add(g.a_cached, batch * m * k * sizeof(T));
  add(g.b_cached, batch * k * n * sizeof(T));
  add(g.c_cached, batch * m * n * sizeof(Out) * (g.beta == 0 ? 1 : 2));
  return work;
}

}  // namespace

void check_index_size(const char* what, std::int64_t size) {
  check(size <= std::numeric_limits<int>::max(), "cuda",
        "{} must be below 2^31; got {}; use smaller pieces", what, size);
}

// A row-major matrix is the column-major form of its transpose, and cuBLAS's matrices are
// column-major: c^T = op(b)^T op(a)^T gives c, with a and b in each other's place.
template <class T, class Out>
void gemm(const char* name, const GemmShape& g, const T* a, const T* b, Out* c) {
  if (g.m == 0 || g.n == 0 || g.batch == 0) return;
  if (g.k == 0) {
    check(g.beta == 0 && g.ldc == g.n, "gemm", "an empty sum needs a contiguous result");
    return fill(c, static_cast<Out>(0), g.batch * g.m * g.n);
  }
  const int m = blas_size(g.m), n = blas_size(g.n), k = blas_size(g.k);
  const int lda = row_stride(g.lda), ldb = row_stride(g.ldb), ldc = row_stride(g.ldc);
  const cublasOperation_t op_a = g.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t op_b = g.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const auto [type, unit] = arithmetic<T>();
  const LaunchRecord record(name, work_of<T, Out>(g, unit));
  if (record.skipped()) return;
  const auto alpha = static_cast<Compute<T>>(g.alpha), beta = static_cast<Compute<T>>(g.beta);
  constexpr cudaDataType_t in = data_type<T>, out = data_type<Out>;
  if (g.batch == 1) {
    GRADUS_CUDA_CHECK(cublasGemmEx(blas(), op_b, op_a, n, m, k, &alpha, b, in, ldb, a, in, lda,
                                   &beta, c, out, ldc, type, CUBLAS_GEMM_DEFAULT));
  } else {
    GRADUS_CUDA_CHECK(cublasGemmStridedBatchedEx(
        blas(), op_b, op_a, n, m, k, &alpha, b, in, ldb, g.stride_b, a, in, lda, g.stride_a, &beta,
        c, out, ldc, g.stride_c, blas_size(g.batch), type, CUBLAS_GEMM_DEFAULT));
  }
  check_finished(name);
}

template <class T, class Out>
void matmul(const T* a, const T* b, Out* c, const MatmulGeometry& g) {
  gemm<T>("matmul",
          {.m = g.m,
           .n = g.n,
           .k = g.k,
           .transpose_a = g.transpose_a,
           .transpose_b = g.transpose_b,
           .lda = g.transpose_a ? g.m : g.k,
           .ldb = g.transpose_b ? g.k : g.n,
           .ldc = g.n,
           .alpha = g.scale,
           .batch = g.batch,
           .stride_a = g.m * g.k,
           .stride_b = g.k * g.n,
           .stride_c = g.m * g.n},
          a, b, c);
}

GRADUS_INSTANTIATE(gemm<float, float>)
GRADUS_INSTANTIATE(gemm<double, double>)
GRADUS_INSTANTIATE(gemm<BFloat16, BFloat16>)
GRADUS_INSTANTIATE(gemm<BFloat16, float>)
GRADUS_INSTANTIATE(matmul<float, float>)
GRADUS_INSTANTIATE(matmul<double, double>)
GRADUS_INSTANTIATE(matmul<BFloat16, BFloat16>)
GRADUS_INSTANTIATE(matmul<BFloat16, float>)

}  // namespace gradus::cuda
