// The matrix product that matmul and conv2d share: cuBLAS, seen row by row. Internal to
// tensor/cuda.
#pragma once

#include <cstdint>

namespace gradus::cuda {

/// Sizes of c[i] = alpha op(a[i]) op(b[i]) + beta c[i] for i < batch, op = transpose where asked
/// for: op(a) [m, k], op(b) [k, n], c [m, n]. lda, ldb and ldc are the distances between stored
/// rows, stride_* those between the matrices of a batch.
struct GemmShape {
  std::int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;
  std::int64_t lda, ldb, ldc;
  double alpha = 1, beta = 0;
  std::int64_t batch = 1;
  std::int64_t stride_a = 0, stride_b = 0, stride_c = 0;
  /// Which matrices are scratch that is meant to stay in the second-level cache (for profiles).
  bool a_cached = false, b_cached = false, c_cached = false;
};

/// The product as one call of cuBLAS, called `name` in profiles. T is float (in TF32 where
/// tf32_allowed()), double, or BFloat16 with sums in float; Out is T or Compute<T>. c is not read
/// where beta is 0; where k is 0, beta must be 0 and c contiguous. Throws Error if a size exceeds
/// what cuBLAS can address.
template <class T, class Out>
void gemm(const char* name, const GemmShape& g, const T* a, const T* b, Out* c);

/// Throws Error unless `size`, of what `what` says, fits in 31 bits: an index that kernels and
/// cuBLAS can hold.
void check_index_size(const char* what, std::int64_t size);

}  // namespace gradus::cuda
