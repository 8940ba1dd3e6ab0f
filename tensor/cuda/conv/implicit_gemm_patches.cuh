// How a block gathers its rows of the column matrix (implicit_gemm.cuh) from the image: forward,
// and for the gradient of the input, where with stride 2 the taps are those of a phase. And how
// warps load fragments of such rows.
#pragma once

#include "tensor/cuda/conv/implicit_gemm.cuh"

namespace gradus::cuda::implicit_gemm {

inline constexpr int widest_kernel = 3;

/// The taps of a kernel that a row of the product gathers: rows x columns of them, beginning at
/// (row, column) of the kernel and `step` apart. They read neighbouring pixels.
struct Taps {
  int rows, columns;
  int row, column;
  int step;
};

/// Those of pixels (2 i + phase / 2, 2 j + phase % 2) of the gradient of the input.
__device__ inline Taps taps_of_phase(int kernel, int phase) {
  const int odd_row = phase / 2, odd_column = phase % 2;
  if (kernel == 1) return {1 - odd_row, 1 - odd_column, 0, 0, 2};
  return {1 + odd_row, 1 + odd_column, 1 - odd_row, 1 - odd_column, 2};
}

/// Fills stages: T::m rows of the column matrix, then T::n rows of weights [O, kernel, kernel, C].
/// Taps are the inner index of k, T::step_k channels the outer one, so that what the taps of
/// neighbouring pixels share is read again soon.
template <class T>
class PatchCopies {
  using E = typename T::Element;

 public:
  __device__ PatchCopies(const Problem& p, const Taps& taps, const E* input, const E* weight,
                         int first_row, int first_column, SharedAddress stages)
      : p_(p), taps_(taps), input_(input), first_tap_((taps.row * p.kernel + taps.column) * p.C) {
    const CopyPlace place;
    to_ = stages + place.offset(place.row % 8);
    const int weights = p.kernel * p.kernel * p.C;  // of an output channel
    weight_ = weight + static_cast<std::int64_t>(first_column + place.row) * weights +
              place.chunk * T::chunk_size;
    weight_step_ = T::copied_rows * weights;
    weight_at_ = first_tap_;
#pragma unroll
    for (int i = 0; i < copies_m; ++i) {
      const int number = first_row + place.row + i * T::copied_rows;
      const Pixel pixel = pixel_of(p, min(number, p.pixels - 1));
      const int h = pixel.row * p.stride - p.padding, w = pixel.column * p.stride - p.padding;
      offset_[i] = ((pixel.n * p.H + h) * p.W + w) * p.C + place.chunk * T::chunk_size;
      mask_[i / 3] |= (number < p.pixels ? taps_inside(h, w) : 0u) << (i % 3 * taps_in_mask);
    }
  }

  __device__ __forceinline__ void start(std::uint32_t stage, int quarter) const {
    const SharedAddress to = to_ + stage;
#pragma unroll
    for (int i = 0; i < copies_m; ++i) {
      if (i * slices / copies_m != quarter) continue;
      const bool valid = mask_[i / 3] >> (i % 3 * taps_in_mask + bit_) & 1;
      copy_async(to + i * copied_bytes, input_ + (valid ? offset_[i] + input_at_ : 0), valid);
    }
#pragma unroll
    for (int i = 0; i < copies_n; ++i) {
      if (i * slices / copies_n != quarter) continue;
      copy_async(to + T::m * row_bytes + i * copied_bytes, weight_ + i * weight_step_ + weight_at_,
                 true);
    }
  }

  __device__ __forceinline__ void advance() {
    ++bit_;
    input_at_ += p_.C;
    weight_at_ += taps_.step * p_.C;
    if (++column_ < taps_.columns) return;
    column_ = 0;
    bit_ += widest_kernel - taps_.columns;
    input_at_ += (p_.W - taps_.columns) * p_.C;
    weight_at_ += taps_.step * (p_.kernel - taps_.columns) * p_.C;
    if (++row_ < taps_.rows) return;
    row_ = 0;
    bit_ = 0;
    channel_ += T::step_k;
    input_at_ = channel_;
    weight_at_ = first_tap_ + channel_;
  }

 private:
  static constexpr int copies_m = T::m / T::copied_rows, copies_n = T::n / T::copied_rows;
  static constexpr std::uint32_t copied_bytes = T::copied_rows * row_bytes;
  static constexpr int taps_in_mask = widest_kernel * widest_kernel;

  /// A bit for each tap, widest_kernel bits a row: whether it lies in the image, the first one
  /// being pixel (h, w).
  __device__ std::uint32_t taps_inside(int h, int w) const {
    std::uint32_t columns = 0, mask = 0;
#pragma unroll
    for (int i = 0; i < widest_kernel; ++i) {
      if (i < taps_.columns && inside(w + i, p_.W)) columns |= 1u << i;
    }
#pragma unroll
    for (int i = 0; i < widest_kernel; ++i) {
      if (i < taps_.rows && inside(h + i, p_.H)) mask |= columns << (i * widest_kernel);
    }
    return mask;
  }

  const Problem& p_;
  const Taps taps_;
  const E* input_;
  const E* weight_;  // the thread's chunk of the tile's first row
  int weight_step_;
  int first_tap_;
  SharedAddress to_;
  int offset_[copies_m];                         // of the first tap's pixel, which may be outside
  std::uint32_t mask_[(copies_m + 2) / 3] = {};  // three rows' bits in a word
  // The tap and the channels that are copied next.
  int row_ = 0, column_ = 0, bit_ = 0, channel_ = 0;
  int input_at_ = 0, weight_at_;
};

/// Fragments of a stage whose rows run along k: a and b of 16 rows and a slice of k, b as n by k.
/// In TF32 the elements of a are rounded; those of b, the weights, have been.
template <class T>
class RowFragments {
 public:
  __device__ explicit RowFragments(SharedAddress stages) {
    const WarpPlace<T> place;
    const int lane = place.lane;
    // Of a, lanes 0 to 15 name rows 0 to 15 of the first chunk, the others those of the second one.
    // Of b, matrices 0 and 1 are the first and second chunk of rows 0 to 7.
    a_ = stages + static_cast<std::uint32_t>((place.row + lane % 16) * row_bytes);
    b_ = stages +
         static_cast<std::uint32_t>((T::m + place.column + lane / 16 * 8 + lane % 8) * row_bytes);
    a_place_ = static_cast<std::uint32_t>((lane / 16 ^ lane % 8) * chunk_bytes);
    b_place_ = static_cast<std::uint32_t>((lane / 8 % 2 ^ lane % 8) * chunk_bytes);
  }
  __device__ __forceinline__ void load(std::uint32_t (&a)[T::fragments_m][4],
                                       std::uint32_t (&b)[T::fragments_n][4], std::uint32_t stage,
                                       int slice) const {
    constexpr std::uint32_t fragment = 16 * row_bytes;
    const std::uint32_t swizzle = static_cast<std::uint32_t>(slice) * slice_bytes;
#pragma unroll
    for (int i = 0; i < T::fragments_m; ++i) {
      load_matrices(a[i], a_ + stage + i * fragment + (a_place_ ^ swizzle));
      if constexpr (std::is_same_v<typename T::Element, float>) {
#pragma unroll
        for (std::uint32_t& word : a[i]) word = round_word_to_tf32(word);
      }
    }
#pragma unroll
    for (int i = 0; i < T::fragments_n; ++i) {
      load_matrices(b[i], b_ + stage + i * fragment + (b_place_ ^ swizzle));
    }
  }

 private:
  SharedAddress a_, b_;
  std::uint32_t a_place_, b_place_;
};

}  // namespace gradus::cuda::implicit_gemm
