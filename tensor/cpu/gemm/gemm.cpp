#include "tensor/cpu/gemm/gemm.h"

#include <Eigen/Core>
#include <algorithm>
#include <utility>

#include "tensor/cpu/first_exception.h"

namespace gradus::cpu {
namespace {

/// A row-major matrix in memory; the distance between its rows is given.
template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class M>
using Mapped = Eigen::Map<M, Eigen::Unaligned, Eigen::OuterStride<>>;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

struct Tile {
  std::int64_t rows, columns;

  std::int64_t count(std::int64_t m, std::int64_t n) const {
    return divide_up(m, rows) * divide_up(n, columns);
  }
};

/// Tiles large enough that packing a and b costs little, yet at least eight where the
/// matrix allows it, to keep several threads busy; then evened out.
Tile choose_tile(std::int64_t m, std::int64_t n) {
  constexpr std::int64_t enough_tiles = 8;
  constexpr Tile largest{512, 1024}, smallest{64, 128};
  Tile tile{std::min(m, largest.rows), std::min(n, largest.columns)};
  while (tile.count(m, n) < enough_tiles) {
    if (tile.columns >= tile.rows && tile.columns >= 2 * smallest.columns) {
      tile.columns = divide_up(tile.columns, 2);
    } else if (tile.rows >= 2 * smallest.rows) {
      tile.rows = divide_up(tile.rows, 2);
    } else {
      break;
    }
  }
  // The micro-kernels' width: a tile's edge should not leave a remainder where c has none.
  constexpr std::int64_t grain = 16;
  const auto even = [](std::int64_t size, std::int64_t part) {
    const std::int64_t parts = divide_up(size, part);
    return divide_up(divide_up(size, parts), grain) * grain;
  };
  return {even(m, tile.rows), even(n, tile.columns)};
}

}  // namespace

template <class T>
void gemm_serial(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
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

template <class T>
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          T alpha, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c,
          std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  const Tile tile = choose_tile(m, n);
  const std::int64_t column_tiles = divide_up(n, tile.columns);
  const std::int64_t tiles = tile.count(m, n);
  constexpr double worth_threads = 1e6;  // multiplications
  const bool parallel =
      static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) >= worth_threads;
  FirstException exception;
#pragma omp parallel for schedule(dynamic) if (parallel && tiles > 1)
  for (std::int64_t t = 0; t < tiles; ++t) {
    exception.guard([&] {
      const std::int64_t i = t / column_tiles * tile.rows;
      const std::int64_t j = t % column_tiles * tile.columns;
      gemm_serial(transpose_a, transpose_b, std::min(tile.rows, m - i),
                  std::min(tile.columns, n - j), k, alpha, a + (transpose_a ? i : i * lda), lda,
                  b + (transpose_b ? j * ldb : j), ldb, beta, c + i * ldc + j, ldc);
    });
  }
  exception.rethrow();
}

#define GRADUS_INSTANTIATE(T)                                                                     \
  template void gemm<T>(bool, bool, std::int64_t, std::int64_t, std::int64_t, T, const T*,        \
                        std::int64_t, const T*, std::int64_t, T, T*, std::int64_t);               \
  template void gemm_serial<T>(bool, bool, std::int64_t, std::int64_t, std::int64_t, T, const T*, \
                               std::int64_t, const T*, std::int64_t, T, T*, std::int64_t);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
#undef GRADUS_INSTANTIATE

}  // namespace gradus::cpu
