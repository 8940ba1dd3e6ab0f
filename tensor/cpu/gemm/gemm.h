// Matrix products by Eigen: for float64's matmul and the convolutions by the column matrix.
// product.h has the faster ones.
#pragma once

#include <cstdint>

namespace gradus::cpu {

/// c = alpha op(a) op(b) + beta c, row-major, op = transpose where asked for: op(a) [m, k],
/// op(b) [k, n], c [m, n]; lda, ldb and ldc are the distances between stored rows. c is not read
/// where beta is 0. T is float or double. The calling thread alone computes. Throws std::bad_alloc
/// where there is no memory for Eigen's packed blocks.
template <class T>
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          T alpha, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c,
          std::int64_t ldc);

}  // namespace gradus::cpu
