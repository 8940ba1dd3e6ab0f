// Squares and windows of float32 for the gradient of the weights in TF32, whose products take both
// matrices in rows along k, while k is the pixel here and pixels are rows of channels. So they come
// by way of registers, are rounded there, and are written transposed, a row a channel.
//
// A tap moves a matrix by whole 16 bytes only, which are 4 pixels. So the window is there three
// times, once for each column of the kernel, without the columns that this does not read: 8 x 10
// pixels. A row of 128 bytes has four of the window's rows, 32 bytes each, which one product takes:
//
//   block 0           tap column 0, channel 0   row 0 of the window | row 1 | row 2 | row 3
//                     tap column 0, channel 1   ...
//                     tap column 1, channel 0   the same, a pixel further on
//   block 1           tap column 0, channel 0   row 4               | ...
//
// A row of the kernel begins at another row of the window, which is another product's 32 bytes.
#pragma once

#include "tensor/cuda/conv/implicit_gemm_windows.cuh"

namespace gradus::cuda::implicit_gemm::windows {

/// Fills two buffers in turn: a square of doutput, 64 pixels of 64 channels, in two blocks, and
/// behind it the window of the input in three.
class TransposedSquares {
 public:
  static constexpr int channels = 64, kernel_rows = 3;
  static constexpr int rows_in_block = row_bytes / (square_side * int{sizeof(float)});  // of pixels
  static constexpr int square_block_bytes = channels * row_bytes;
  static constexpr int window_block_bytes = kernel_rows * channels * row_bytes;
  static constexpr int square_bytes = square_side / rows_in_block * square_block_bytes;
  static constexpr int window_blocks = (window_side + rows_in_block - 1) / rows_in_block;
  static constexpr int buffer_bytes = square_bytes + window_blocks * window_block_bytes;

  /// A warp has 8 channels of 4 pixels, and 32 channels on 8 more: stores to 32 banks. The warps of
  /// a warpgroup share the channels; warpgroup g has columns 4 g to 4 g + 3.
  __device__ TransposedSquares(const Problem& p, const float* input, const float* doutput,
                               int first_channel, int first_output)
      : p_(p), memory_(dynamic_shared<float>(2 * buffer_bytes / int{sizeof(float)})) {
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    group_ = thread / 128;
    const int channel = thread / 32 % 4 * 8 + lane / 4;
    pixel_ = lane % 4;
    input_ = input + first_channel + channel;
    doutput_ = doutput + first_output + channel;
    for (int tap = 0; tap < kernel_rows; ++tap) {
      of_tap_[tap] = place_of(tap * channels + channel, group_ * 4 + pixel_ - tap);
    }
    in_square_ = place_of(channel, group_ * 4 + pixel_);
  }

  /// The thread's warpgroup.
  __device__ int group() const { return group_; }

  /// Starts to load the window of a square to registers.
  __device__ __forceinline__ void load_window(int number) {
    const Pixel square = pixel_of(p_, number);
    const int h = square.row * square_side - 1, w = square.column * square_side - 1;
    const int column = group_ * 4 + pixel_;
    const bool in_row = column < window_side && inside(w + column, p_.W);
    const int step = p_.W * p_.C;
    int at = ((square.n * p_.H + h) * p_.W + w + column) * p_.C;
#pragma unroll
    for (int row = 0; row < window_side; ++row, at += step) {
      const bool valid = in_row && inside(h + row, p_.H);
      const float* const from = input_ + at;
#pragma unroll
      for (int i = 0; i < 2; ++i) window_values_[row][i] = valid ? from[i * 32] : 0;
    }
  }

  /// Starts to load a square.
  __device__ __forceinline__ void load_square(int number) {
    if (!has_square()) return;
    const Pixel square = pixel_of(p_, number);
    const int h = square.row * square_side, w = square.column * square_side + group_ * 4 + pixel_;
    const int step = p_.W * p_.O;
    int at = ((square.n * p_.H + h) * p_.W + w) * p_.O;
#pragma unroll
    for (int row = 0; row < square_side; ++row, at += step) {
      const float* const from = doutput_ + at;
#pragma unroll
      for (int i = 0; i < 2; ++i) square_values_[row][i] = from[i * 32];
    }
  }

  /// Writes the window that was loaded to a buffer, which begins `buffer` bytes behind the first.
  __device__ __forceinline__ void store_window(std::uint32_t buffer) {
    const int begin = static_cast<int>(buffer + square_bytes) / int{sizeof(float)};
#pragma unroll
    for (int row = 0; row < window_side; ++row) {
      const int block = row / rows_in_block * (window_block_bytes / int{sizeof(float)});
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float value = round_to_tf32(window_values_[row][i]);
#pragma unroll
        for (int tap = 0; tap < kernel_rows; ++tap) {
          if (!inside(group_ * 4 + pixel_ - tap, square_side)) continue;
          memory_[begin + block + i * 32 * row_floats + place(of_tap_[tap], row)] = value;
        }
      }
    }
  }

  /// Writes the square that was loaded.
  __device__ __forceinline__ void store_square(std::uint32_t buffer) {
    if (!has_square()) return;
    const int begin = static_cast<int>(buffer) / int{sizeof(float)};
#pragma unroll
    for (int row = 0; row < square_side; ++row) {
      const int block = row / rows_in_block * (square_block_bytes / int{sizeof(float)});
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        memory_[begin + block + i * 32 * row_floats + place(in_square_, row)] =
            round_to_tf32(square_values_[row][i]);
      }
    }
  }

 private:
  static constexpr int row_floats = row_bytes / int{sizeof(float)};

  /// Columns 8 and 9 are the window's only.
  __device__ bool has_square() const { return group_ < 2; }

  /// Where the thread's channel of a column is in the first of a block's rows: its row of memory,
  /// and the chunk, which is combined with that of the row of pixels.
  struct Place {
    int row, chunk;
  };
  __device__ static Place place_of(int channel, int column) {
    return {channel * row_floats + column % 4, (column / 4) ^ (channel % 8)};
  }
  /// The same of a row of pixels, in floats.
  __device__ static int place(const Place& first, int pixel_row) {
    return first.row + ((pixel_row % rows_in_block * 2) ^ first.chunk) * 4;
  }

  const Problem& p_;
  const float* input_;
  const float* doutput_;
  decltype(dynamic_shared<float>(0)) memory_;
  int group_, pixel_;
  Place of_tap_[kernel_rows], in_square_;
  float window_values_[window_side][2], square_values_[square_side][2];
};

/// sums += the products of squares [first, end) with the three taps of this warpgroup: [64, 3 x
/// 64]. While the tensor cores work on one, the next one is written to the other buffer. Its window
/// was loaded a step before, and is gone from the registers when the square comes there.
__device__ __forceinline__ void multiply_squares(int first, int end, TransposedSquares& squares,
                                                 SharedAddress memory, float (&sums)[24][4]) {
  using S = TransposedSquares;
  if (first >= end) return;
  const int kernel_row = squares.group();
  squares.load_window(first);
  squares.store_window(0);
  squares.load_square(first);
  squares.store_square(0);
  publish_copies();
  if (first + 1 < end) squares.load_window(first + 1);
  __syncthreads();
  std::uint32_t buffer = 0;
#pragma unroll 1
  for (int number = first; number < end; ++number) {
    const MatrixDescriptor a(memory + buffer, 8 * row_bytes, 0);
    const MatrixDescriptor b = a + S::square_bytes;
    begin_products();
#pragma unroll
    for (int row = 0; row < square_side; ++row) {
      const int of_window = row + kernel_row;
      const auto slice = [](int pixel_row, int block_bytes) {
        return static_cast<std::uint32_t>(pixel_row / S::rows_in_block * block_bytes +
                                          pixel_row % S::rows_in_block * slice_bytes);
      };
      multiply_add<float, false>(sums, a + slice(row, S::square_block_bytes),
                                 b + slice(of_window, S::window_block_bytes));
    }
    commit_products();
    wait_for_products<1>();  // the other buffer's
    __syncthreads();
    buffer = S::buffer_bytes - buffer;
    if (number + 1 < end) {
      squares.store_window(buffer);
      squares.load_square(number + 1);
      squares.store_square(buffer);
    }
    publish_copies();  // waits for loads, too
    if (number + 2 < end) squares.load_window(number + 2);
    __syncthreads();
  }
  wait_for_products<0>();
}

}  // namespace gradus::cuda::implicit_gemm::windows
