#include "tensor/cpu/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <limits>

#include "tensor/check.h"

namespace gradus::cpu {
namespace {

/// OpenBLAS must not start threads of its own: OpenMP's are at work already.
void use_one_blas_thread() {
  [[maybe_unused]] static const bool done = (openblas_set_num_threads(1), true);
}

/// A size as BLAS takes it; 32-bit in the usual builds.
blasint blas_size(std::int64_t size) {
  check(size <= std::numeric_limits<blasint>::max(), "gemm",
        "BLAS cannot address a matrix with a side or row stride of {}; use smaller pieces", size);
  return static_cast<blasint>(size);
}

template <class T>
void cblas_gemm(bool transpose_a, bool transpose_b, blasint m, blasint n, blasint k, T alpha,
                const T* a, blasint lda, const T* b, blasint ldb, T beta, T* c, blasint ldc) {
  const auto op_a = transpose_a ? CblasTrans : CblasNoTrans;
  const auto op_b = transpose_b ? CblasTrans : CblasNoTrans;
  if constexpr (sizeof(T) == sizeof(float)) {
    cblas_sgemm(CblasRowMajor, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  } else {
    cblas_dgemm(CblasRowMajor, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }
}

/// c = beta c, without reading c where beta is 0.
template <class T>
void scale_matrix(std::int64_t m, std::int64_t n, T beta, T* c, std::int64_t ldc) {
  for (std::int64_t i = 0; i < m; ++i) {
    T* row = c + i * ldc;
    if (beta == T(0)) {
      std::fill_n(row, n, T(0));
    } else {
      for (std::int64_t j = 0; j < n; ++j) row[j] *= beta;
    }
  }
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

struct Tile {
  std::int64_t rows, columns;

  std::int64_t count(std::int64_t m, std::int64_t n) const {
    return divide_up(m, rows) * divide_up(n, columns);
  }
};

/// Tiles large enough that BLAS's packing of a and b costs little, yet at least eight where the
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
  use_one_blas_thread();
  if (m == 0 || n == 0) return;
  if (k == 0) return scale_matrix(m, n, beta, c, ldc);
  cblas_gemm(transpose_a, transpose_b, blas_size(m), blas_size(n), blas_size(k), alpha, a,
             blas_size(lda), b, blas_size(ldb), beta, c, blas_size(ldc));
}

template <class T>
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          T alpha, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c,
          std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  // Checked here, since nothing may throw out of a parallel region.
  for (const std::int64_t size : {k, lda, ldb, ldc}) blas_size(size);
  const Tile tile = choose_tile(m, n);
  const std::int64_t column_tiles = divide_up(n, tile.columns);
  const std::int64_t tiles = tile.count(m, n);
  constexpr double worth_threads = 1e6;  // multiplications
  const bool parallel =
      static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) >= worth_threads;
#pragma omp parallel for schedule(dynamic) if (parallel && tiles > 1)
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t i = t / column_tiles * tile.rows;
    const std::int64_t j = t % column_tiles * tile.columns;
    gemm_serial(transpose_a, transpose_b, std::min(tile.rows, m - i), std::min(tile.columns, n - j),
                k, alpha, a + (transpose_a ? i : i * lda), lda, b + (transpose_b ? j * ldb : j),
                ldb, beta, c + i * ldc + j, ldc);
  }
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
