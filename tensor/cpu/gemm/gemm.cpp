#include "tensor/cpu/gemm/gemm.h"

#include <Eigen/Core>
#include <utility>

#include "tensor/backend/instantiate.h"

namespace gradus::cpu {
namespace {

/// A row-major matrix in memory; the distance between its rows is given.
template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class M>
using Mapped = Eigen::Map<M, Eigen::Unaligned, Eigen::OuterStride<>>;

}  // namespace

template <class T>
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          T alpha, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c,
          std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  const auto matrix = [](const T* data, bool transposed, std::int64_t rows, std::int64_t columns,
                         std::int64_t stride) {
    if (transposed) std::swap(rows, columns);
    return Mapped<const RowMajor<T>>(data, rows, columns, Eigen::OuterStride<>(stride));
  };
  const auto left = matrix(a, transpose_a, m, k, lda), right = matrix(b, transpose_b, k, n, ldb);
  Mapped<RowMajor<T>> result(c, m, n, Eigen::OuterStride<>(ldc));
  if (beta == T(0)) {
    result.setZero();
  } else if (beta != T(1)) {
    result *= beta;
  }
  if (transpose_a && transpose_b) {
    result.noalias() += alpha * left.transpose() * right.transpose();
  } else if (transpose_a) {
    result.noalias() += alpha * left.transpose() * right;
  } else if (transpose_b) {
    result.noalias() += alpha * left * right.transpose();
  } else {
    result.noalias() += alpha * left * right;
  }
}

GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(gemm)

}  // namespace gradus::cpu
