// The innermost kernels of convolutions and matrix products, compiled once for each level of vector
// instructions (level.h): register-blocked matrix products, Winograd's transforms of tiles, and the
// passes of batch norm.
#pragma once

#include <cstdint>
#include <type_traits>

#include <gradus/tensor/bfloat16.h>
#include "tensor/cpu/simd/level.h"

namespace gradus::cpu::simd {

// The factors of matrix products are made of words of 32 bits. A word is a float, or, at levels
// that multiply bfloat16, two neighbours along the depth, which are multiplied and added at a time.
// At other levels bfloat16 becomes float on its way into words.

struct BFloat16Pair {
  BFloat16 first, second;
};

/// The elements of a word, and how many it has.
template <class Word>
using Element = std::conditional_t<std::is_same_v<Word, float>, float, BFloat16>;
template <class Word>
inline constexpr int per_word = sizeof(Word) / sizeof(Element<Word>);

/// A matrix [rows, depth], in words, to be multiplied from the left. One of the strides is 1.
template <class Word>
struct LeftMatrix {
  const Word* data;
  std::int64_t row_stride, step;  ///< between rows; along the depth
};

/// The words that two factors are multiplied along: `runs` (at least one) times `words` that follow
/// each other, of the left factor from its word left[run] on, of the right one from right[run];
/// without those, one run from the beginnings.
struct Depth {
  std::int64_t words, runs = 1;
  const std::int64_t *left = nullptr, *right = nullptr;

  std::int64_t left_begin(std::int64_t run) const { return left == nullptr ? 0 : left[run]; }
  std::int64_t right_begin(std::int64_t run) const { return right == nullptr ? 0 : right[run]; }
};

/// c [rows, panel] = (add ? c : 0) + a [rows, depth] b [depth, panel], with sums in float; the
/// strides of b and c are those between their rows, of b in words.
template <class Word>
using MultiplyPanel = void (*)(const LeftMatrix<Word>& a, std::int64_t rows, const Word* b,
                               std::int64_t b_stride, const Depth& depth, float* c,
                               std::int64_t c_stride, bool add);

/// Where rows of results go: row i begins at data + i / lanes stride + i % lanes lane_stride.
template <class T>
struct StoredRows {
  T* data;
  std::int64_t rows, columns, stride, lanes, lane_stride;
};

/// y [rows, columns] = sums + bias, rounded to T; bias [columns] or null, sums' rows `stride`
/// apart.
template <class T>
using StoreRows = void (*)(const float* sums, std::int64_t stride, const float* bias,
                           const StoredRows<T>& y);

/// (x - mean) scale + shift, by channel: batch norm with scale = gamma / sqrt(variance + eps) and
/// shift = beta.
template <class A>
struct Normalisation {
  const A *mean, *scale, *shift;  ///< [C]
};

/// The ways of Winograd convolution (tensor/backend/winograd_matrices.h): F(4x4, 3x3), stride 2,
/// and stride 2 from an output's gradient to the input's.
enum class WinogradScheme { plain, strided, strided_back };

/// The transforms of a scheme, vectorised over channels. Tiles come as pointers to the channels of
/// each of their pixels, row by row, null for zeros. A frequency f of a result begins at f *
/// stride. Results are written in whole vectors: memory must have room for the channels rounded up
/// to Kernels::width words. What only weight gradients need is null for
/// WinogradScheme::strided_back. Images are of T, transformed ones of Word.
template <class T, class Word>
struct WinogradKernels {
  int input_side = 0;      ///< of a tile that transform_input takes
  int frequency_side = 0;  ///< of its transform
  int output_side = 0;     ///< of a tile that restore_output gives

  /// to[f][c / per_word] = B^T x B of a tile x.
  void (*transform_input)(const T* const* pixels, std::int64_t C, Word* to,
                          std::int64_t stride) = nullptr;
  /// The same of `per_word` tiles, whose elements make one word: to[f][c].
  void (*transform_input_tiles)(const T* const* pixels, std::int64_t C, Word* to,
                                std::int64_t stride) = nullptr;
  /// A dy A^T of `per_word` tiles of output gradients, likewise.
  void (*transform_doutput_tiles)(const T* const* pixels, std::int64_t C, Word* to,
                                  std::int64_t stride) = nullptr;
  /// to[f][j / per_word][k] = G g G^T of filters [count][9][panel], count a multiple of per_word.
  void (*transform_weight)(const float* filters, std::int64_t count, Word* to,
                           std::int64_t stride) = nullptr;
  /// to[i][j] = A^T y A + bias for from[f][c], where i < rows and j < columns; bias [C] or null.
  void (*restore_output)(const float* from, std::int64_t stride, const float* bias, std::int64_t C,
                         T* to, std::int64_t row_stride, std::int64_t column_stride,
                         std::int64_t rows, std::int64_t columns) = nullptr;
  /// to[tap][c] = (add ? to[tap][c] : 0) + G^T (sum over parts of from[f][c]) G
  void (*restore_weight)(const float* from, std::int64_t stride, std::int64_t parts,
                         std::int64_t part_stride, std::int64_t C, float* to,
                         std::int64_t tap_stride, bool add) = nullptr;
};

/// Passes of batch norm over a block of rows, x, y, dy and their like [rows, C], the others [C].
template <class T>
struct NormKernels {
  using A = Compute<T>;

  /// mean = average of x - origin, deviations = sum (x - origin - mean)^2; rows >= 1.
  void (*moments)(const T* x, const A* origin, std::int64_t rows, std::int64_t C, A* mean,
                  A* deviations);
  /// y = normalised x, (x - mean) scale + shift, + residual unless that is null, then max(y, 0) if
  /// `relu`.
  void (*apply)(const T* x, const Normalisation<A>& n, const T* residual, bool relu, T* y,
                std::int64_t rows, std::int64_t C);
  /// sum_dy = sum g and sum_dy_x = sum g (x - mean), where g = dy, with relu only where y > 0; if y
  /// is null, where the normalised x > 0. Where y is given, dy2 unless null is added to dy, and
  /// `masked` becomes g.
  void (*gradient_sums)(const T* dy, const T* dy2, const T* x, const T* y, bool relu,
                        const Normalisation<A>& n, T* masked, std::int64_t rows, std::int64_t C,
                        A* sum_dy, A* sum_dy_x);
  /// dx = scale (g - dshift - (x - mean) slope), g = dy, with mask_of_x only where the normalised
  /// x > 0.
  void (*input_gradient)(const T* dy, const T* x, bool mask_of_x, const Normalisation<A>& n,
                         const A* dshift, const A* slope, T* dx, std::int64_t rows, std::int64_t C);
};

/// One level's kernels.
struct Kernels {
  int width;  ///< floats in a vector
  int panel;  ///< columns that a product computes together
  int rows;   ///< rows that a product of float computes together

  MultiplyPanel<float> multiply_float;
  MultiplyPanel<BFloat16Pair> multiply_pairs;  ///< null: bfloat16 is multiplied as float
  StoreRows<float> store_rows_float;
  StoreRows<BFloat16> store_rows_bfloat16;
  /// to [columns, rows] = the transpose of from [rows, columns], of words of 32 bits.
  void (*transpose)(const void* from, std::int64_t from_stride, std::int64_t rows,
                    std::int64_t columns, void* to, std::int64_t to_stride);
  WinogradKernels<float, float> winograd_float[3];  ///< by scheme
  /// By scheme, of the words that products of bfloat16 take.
  WinogradKernels<BFloat16, float> winograd_bfloat16[3];
  WinogradKernels<BFloat16, BFloat16Pair> winograd_pairs[3];
  NormKernels<float> norm_float;
  NormKernels<BFloat16> norm_bfloat16;

  template <class Word>
  MultiplyPanel<Word> multiply() const {
    if constexpr (std::is_same_v<Word, float>)
      return multiply_float;
    else
      return multiply_pairs;
  }
  template <class T>
  StoreRows<T> store_rows() const {
    if constexpr (std::is_same_v<T, float>)
      return store_rows_float;
    else
      return store_rows_bfloat16;
  }
  template <class T, class Word>
  const WinogradKernels<T, Word>& winograd(WinogradScheme scheme) const {
    const auto i = static_cast<std::size_t>(scheme);
    if constexpr (std::is_same_v<T, float>)
      return winograd_float[i];
    else if constexpr (std::is_same_v<Word, float>)
      return winograd_bfloat16[i];
    else
      return winograd_pairs[i];
  }
  template <class T>
  const NormKernels<T>& norm() const {
    if constexpr (std::is_same_v<T, float>)
      return norm_float;
    else
      return norm_bfloat16;
  }
};

/// Those of level().
const Kernels& kernels();

/// function(Word()) for the words that products of T take at the level in use; T is float or
/// BFloat16.
template <class T, class Function>
void with_word(const Function& function) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (kernels().multiply_pairs != nullptr) return function(BFloat16Pair());
  }
  function(float());
}

/// Uses others, for tests, until the next set_level() and while no kernel runs.
void set_kernels(const Kernels& others);

}  // namespace gradus::cpu::simd
