// Stages of the gradient of the weights: k is the pixel there, and rows of a stage are the channels
// of a pixel, in panels. How they are filled, and how warps load fragments of them.
#pragma once

#include "tensor/cuda/conv/implicit_gemm.cuh"

namespace gradus::cuda::implicit_gemm {

/// What the number of a chunk in row `row` of a panel is combined with: ldmatrix reads the same
/// chunk of 8 rows, a warp's loads of float32 2 chunks of 4 rows.
template <class E>
__device__ int panel_swizzle(int row) {
  return std::is_same_v<E, float> ? row % 4 * 2 : row % 8;
}

/// Fills the first panels of stages, T::m channels of doutput [pixels, O].
template <class T>
class OutputCopies {
  using E = typename T::Element;

 public:
  __device__ OutputCopies(const Problem& p, const E* doutput, int first_output, int first_pixel,
                          SharedAddress stages)
      : p_(p) {
    const CopyPlace place;
    to_ = stages + place.offset(panel_swizzle<E>(place.row));
    pixel_ = first_pixel + place.row;
    doutput_ = doutput + first_output + place.chunk * T::chunk_size;
  }

  __device__ __forceinline__ void start(std::uint32_t stage, int quarter) const {
#pragma unroll
    for (int i = 0; i < copies; ++i) {
      if (i * slices / copies != quarter) continue;
      const int number = pixel_ + i * T::copied_rows;
      const bool exists = number < p_.pixels;
      const SharedAddress to = to_ + (stage + i * T::copied_rows * row_bytes);
#pragma unroll
      for (int j = 0; j < T::m / panel; ++j) {
        copy_async(to + j * panel_bytes, doutput_ + (exists ? number * p_.O + j * panel : 0),
                   exists);
      }
    }
  }
  __device__ __forceinline__ void advance() { pixel_ += T::step_k; }

 private:
  static constexpr int panel = T::step_k;                    // channels of a stage's row
  static constexpr int copies = T::step_k / T::copied_rows;  // of a panel
  static constexpr std::uint32_t panel_bytes = T::step_k * row_bytes;

  const Problem& p_;
  const E* doutput_;
  SharedAddress to_;
  int pixel_;  // the thread's first one of the step that is copied next
};

/// Fills stages. k is the pixel here: a step's rows are T::step_k pixels, and both matrices lie in
/// panels, as many channels as a row has, T::m / panel of doutput and behind them T::n / panel of
/// columns, each of one tap.
template <class T>
class PixelCopies {
  using E = typename T::Element;

 public:
  __device__ PixelCopies(const Problem& p, const E* input, const E* doutput, int first_output,
                         int first_column, int first_pixel, SharedAddress stages)
      : p_(p), input_(input), output_(p, doutput, first_output, first_pixel, stages) {
    const CopyPlace place;
    to_ = stages + T::m / panel * panel_bytes + place.offset(panel_swizzle<E>(place.row));
    pixel_ = first_pixel + place.row;
    const int panels_of_tap = p.C / panel;
#pragma unroll
    for (int j = 0; j < panels_n; ++j) {
      const int number = first_column / panel + j, tap = number / panels_of_tap;
      row_[j] = tap / p.kernel;
      column_[j] = tap % p.kernel;
      offset_[j] = (row_[j] * p.W + column_[j]) * p.C + number % panels_of_tap * panel +
                   place.chunk * T::chunk_size;
    }
  }

  __device__ __forceinline__ void start(std::uint32_t stage, int quarter) const {
    output_.start(stage, quarter);
#pragma unroll
    for (int i = 0; i < copies; ++i) {
      if (i * slices / copies != quarter) continue;
      const int number = pixel_ + i * T::copied_rows;
      const bool exists = number < p_.pixels;
      const Pixel pixel = pixel_of(p_, exists ? number : 0);
      const int h = pixel.row * p_.stride - p_.padding, w = pixel.column * p_.stride - p_.padding;
      const int input_at = ((pixel.n * p_.H + h) * p_.W + w) * p_.C;
      const SharedAddress to = to_ + (stage + i * T::copied_rows * row_bytes);
#pragma unroll
      for (int j = 0; j < panels_n; ++j) {
        const bool valid = exists && inside(h + row_[j], p_.H) && inside(w + column_[j], p_.W);
        copy_async(to + j * panel_bytes, input_ + (valid ? input_at + offset_[j] : 0), valid);
      }
    }
  }
  __device__ __forceinline__ void advance() {
    pixel_ += T::step_k;
    output_.advance();
  }

 private:
  static constexpr int panel = T::step_k;  // channels of a stage's row
  static constexpr int panels_n = T::n / panel;
  static constexpr int copies = T::step_k / T::copied_rows;  // of a panel
  static constexpr std::uint32_t panel_bytes = T::step_k * row_bytes;

  const Problem& p_;
  const E* input_;
  OutputCopies<T> output_;
  SharedAddress to_;
  int pixel_;  // the thread's first one of the step that is copied next
  int row_[panels_n], column_[panels_n], offset_[panels_n];  // of the panels' taps
};

/// Fragments of a stage of panels, whose rows are k: they are transposed while they are loaded.
template <class T, class E = typename T::Element>
class PanelFragments {
 public:
  __device__ explicit PanelFragments(SharedAddress stages) {
    const WarpPlace<T> place;
    const int lane = place.lane;
    // Of a, matrices 0 and 1 are the first and second 8 channels of k 0 to 7; of b, they are the
    // first 8 channels of k 0 to 7 and 8 to 15.
    a_ = stages + static_cast<std::uint32_t>((lane / 16 * 8 + lane % 8) * row_bytes);
    b_ = stages +
         static_cast<std::uint32_t>(T::m * row_bytes + (lane / 8 % 2 * 8 + lane % 8) * row_bytes);
    row_ = static_cast<std::uint32_t>(place.row);
    column_ = static_cast<std::uint32_t>(place.column);
    a_chunk_ = static_cast<std::uint32_t>(lane / 8 % 2);
    b_chunk_ = static_cast<std::uint32_t>(lane / 16);
    swizzle_ = static_cast<std::uint32_t>(lane % 8);
  }
  __device__ __forceinline__ void load(std::uint32_t (&a)[T::fragments_m][4],
                                       std::uint32_t (&b)[T::fragments_n][4], std::uint32_t stage,
                                       int slice) const {
    const std::uint32_t at = stage + static_cast<std::uint32_t>(slice) * T::slice_k * row_bytes;
#pragma unroll
    for (int i = 0; i < T::fragments_m; ++i) {
      load_matrices_transposed(a[i], a_ + (at + place_of(row_ + i * 16, a_chunk_)));
    }
#pragma unroll
    for (int i = 0; i < T::fragments_n; ++i) {
      load_matrices_transposed(b[i], b_ + (at + place_of(column_ + i * 16, b_chunk_)));
    }
  }

 private:
  /// Where the chunk that lies `further` behind `channel` is in a row of its panel.
  __device__ std::uint32_t place_of(std::uint32_t channel, std::uint32_t further) const {
    constexpr std::uint32_t panel = T::step_k;
    const std::uint32_t in_panel = channel % panel / T::chunk_size + further;
    return channel / panel * (panel * row_bytes) + (in_panel ^ swizzle_) * chunk_bytes;
  }

  SharedAddress a_, b_;
  std::uint32_t row_, column_, a_chunk_, b_chunk_, swizzle_;
};

/// The same of float32, which nothing transposes by the way: a lane reads element by element, k
/// being lane % 4 and that + 4, a's row or b's column lane / 4 and, in the second half of a
/// fragment, that
/// + 8. By panel_swizzle, a warp's 32 elements lie in 32 banks.
template <class T>
class PanelFragments<T, float> {
 public:
  __device__ explicit PanelFragments(SharedAddress)
      : values_(dynamic_shared<float>(T::shared_bytes / 4)) {
    const WarpPlace<T> place;
    k_ = place.lane % 4;
    first_ = k_ * panel + place.lane / 4;
    row_ = place.row;
    column_ = T::m + place.column;
  }
  __device__ __forceinline__ void load(std::uint32_t (&a)[T::fragments_m][4],
                                       std::uint32_t (&b)[T::fragments_n][4], std::uint32_t stage,
                                       int slice) const {
    const int at = first_ + static_cast<int>(stage) / 4 + slice * T::slice_k * panel;
#pragma unroll
    for (int i = 0; i < T::fragments_m; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {  // rows 0 and 8, k 0; rows 0 and 8, k 4
        a[i][j] = element<T::warp_m>(at, row_, i * 16 + j % 2 * 8, j / 2);
      }
    }
#pragma unroll
    for (int i = 0; i < T::fragments_n; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {  // column 0, k 0 and 4; column 8, k 0 and 4
        b[i][j] = element<T::warp_n>(at, column_, i * 16 + j / 2 * 8, j % 2);
      }
    }
  }

 private:
  static constexpr int panel = T::step_k;

  /// The lane's element of the 8 channels that lie `further` behind a warp's first one, for its
  /// first or its second k. Warps have `side` channels: where panels end between them, most is
  /// constant.
  template <int side>
  __device__ std::uint32_t element(int at, int first, int further, int second) const {
    const int begin = side % panel == 0 ? 0 : first % panel;
    const int eighth = (begin + further) % panel / 8;
    const float value =
        values_[at + first / panel * (panel * panel) + (begin + further) / panel * (panel * panel) +
                second * 4 * panel + (eighth ^ k_) * 8];
    return std::bit_cast<std::uint32_t>(round_to_tf32(value));
  }

  decltype(dynamic_shared<float>(0)) values_;
  int k_, first_, row_, column_;
};

}  // namespace gradus::cuda::implicit_gemm
