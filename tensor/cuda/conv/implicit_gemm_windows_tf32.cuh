// The gradient of the weights by windows in TF32 (squares and windows: implicit_gemm_windows.cuh).
// Products of warpgroups take float32 in rows along k only, while k is the pixel here and pixels
// are rows of channels; but the first matrix may come from registers, where a thread puts what it
// likes. So the window is that one, as it is copied: dweight^T [C, O] of a tap = columns^T [C,
// pixels] doutput [pixels, O], where a lane reads its channels of its pixels itself. Only doutput,
// the gradient of the output, is written transposed to shared memory, a square at a time, by way of
// registers. There both matrices are rounded, too.
//
// A warpgroup takes the three taps of a column of the kernel: it reads 8 pixels of the window, from
// that column on, once for all taps that multiply them. Row q of the window belongs to row q of the
// square for the kernel's first row, to q - 1 for its second and to q - 2 for its third:
//
//   window of a warpgroup    rows of doutput, by tap
//   row 0  x x x x x x x x   0 . .
//   row 1  x x x x x x x x   1 0 .
//   row 2  x x x x x x x x   2 1 0
//   ...                      ...
//   row 9  x x x x x x x x   . . 7
//
// Four images of 4 x 4 pixels make up one square, each with a window of 6 x 6, and 8 pixels are two
// of their rows: rows q and q + 1 of a window belong to the first or the last two of its image,
// where q - tap is 0 or 2. With stride 2 a window is 17 x 17 pixels, and 8 pixels are every other
// one of a row, which belongs to row (q - tap) / 2 of the square where that is whole; or four of
// 9 x 9, with both: every other pixel of rows q and q + 2, where (q - tap) / 2 is 0 or 2.
#pragma once

#include "tensor/cuda/conv/implicit_gemm_windows.cuh"

namespace gradus::cuda::implicit_gemm::windows {

inline constexpr int tf32_channels = 64, tf32_column_groups = 3;  // a warpgroup each
inline constexpr int tf32_threads = 128 * tf32_column_groups;

/// The 64 pixels of a square, which are a part of an image or, where its side is 4, four images;
/// and what is read of their windows, 8 pixels at a time.
template <int side, int stride_>
struct SquareShape {
  static_assert(side == 8 || side == 4);
  static constexpr int stride = stride_;
  static constexpr int images = square_pixels / (side * side);
  static constexpr int window_side = (side - 1) * stride + 3;
  static constexpr int image_window = window_side * window_side;
  static constexpr int window_pixels = images * image_window;
  static constexpr int rows_at_once = 8 / side;
  static constexpr int reads_of_image = window_side - (rows_at_once - 1) * stride;
  /// Rows of windows that a block copies at once: 16 threads have a pixel of 64 channels.
  static constexpr int copied_rows = tf32_threads / (16 * window_side);
  static constexpr int copies = images * window_side / copied_rows;
  static_assert(copies * copied_rows == images * window_side);
  /// An even number: the last one may be nothing.
  static constexpr int reads = (images * reads_of_image + 1) / 2 * 2;
  static constexpr int fragment_buffers = reads % 5 == 0 ? 5 : reads % 3 == 0 ? 3 : 4;
  static_assert(reads % fragment_buffers == 0);

  /// The first pixel of the window of a read, or of its second half.
  static constexpr int read_begin(int read, int half) {
    const int first = read / reads_of_image * image_window + read % reads_of_image * window_side;
    return first + half * stride * (rows_at_once == 2 ? window_side : 4);
  }
  /// Which 8 pixels of the square a read is multiplied with for a row of the kernel; -1: with none.
  static constexpr int row_of(int read, int kernel_row) {
    const int image = read / reads_of_image, from = read % reads_of_image - kernel_row;
    const int row = from / stride;
    if (image >= images || from < 0 || from % stride != 0 || row >= side) return -1;
    return row % rows_at_once == 0 ? (image * side + row) / rows_at_once : -1;
  }
  static constexpr bool is_used(int read) {
    return row_of(read, 0) >= 0 || row_of(read, 1) >= 0 || row_of(read, 2) >= 0;
  }
};

/// A ring of windows of the input, a row of memory a pixel, with a gap: the 4 pixels and 8 channels
/// that half a warp reads at once lie in 32 banks. With stride 2 two windows fit.
template <class Shape>
class WindowRing {
 public:
  static constexpr int stages = Shape::stride == 1 ? 4 : 2;
  static constexpr int pitch = tf32_channels + 8 / Shape::stride;  // floats
  static constexpr int stage_bytes = Shape::window_pixels * pitch * int{sizeof(float)};
  static constexpr int bytes = stages * stage_bytes;

  /// Windows [first, end) of channels first_channel and on; the ring begins `begin` bytes behind
  /// the block's memory.
  __device__ WindowRing(const Problem& p, const float* input, int first_channel, int first, int end,
                        SharedAddress memory, std::uint32_t begin)
      : p_(p), next_(first), end_(end) {
    const int thread = static_cast<int>(threadIdx.x), pixel = thread / chunks;
    const int chunk = thread % chunks * (chunk_bytes / int{sizeof(float)});
    first_row_ = pixel / side;
    column_ = pixel % side;
    const int first_pixel = Shape::images == 1 ? pixel : first_row_ * Shape::image_window + column_;
    input_ = input + first_channel + chunk;
    to_ = memory + (begin + static_cast<std::uint32_t>(first_pixel * pitch + chunk) *
                                std::uint32_t{sizeof(float)});
    for (int i = 0; i < stages - 1; ++i) fill();
  }

  /// Starts the copies of the next window, a group. A thread has a column of a window, or of one in
  /// so many images.
  __device__ __forceinline__ void fill() {
    if (next_ < end_ && first_row_ < Shape::copied_rows) {
      const Pixel square = pixel_of(p_, next_);
      const int h = square.row * square_side * Shape::stride - 1;
      const int x = square.column * square_side * Shape::stride - 1 + column_;
      constexpr bool by_images = Shape::images > 1;
      const int n = square.n * Shape::images + (by_images ? first_row_ : 0);
      const int first_y = h + (by_images ? 0 : first_row_);
      const bool in_columns = inside(x, p_.W);
      const int line = p_.W * p_.C;
      const int first = ((n * p_.H + first_y) * p_.W + x) * p_.C;
#pragma unroll
      for (int i = 0; i < Shape::copies; ++i) {
        const int rows = by_images ? i % side : i * Shape::copied_rows;
        const int images = by_images ? i / side * Shape::copied_rows : 0;
        const bool valid = in_columns && inside(first_y + rows, p_.H);
        copy_async(to_ + (stage_ + (images * Shape::image_window + rows * side) * pitch *
                                       std::uint32_t{sizeof(float)}),
                   input_ + (valid ? first + (images * p_.H + rows) * line : 0), valid);
      }
    }
    if (next_++ < end_) stage_ = next(stage_);
    commit_copies();
  }

  /// The stage behind one, in bytes from the first.
  __device__ static std::uint32_t next(std::uint32_t stage) {
    return stage == (stages - 1) * stage_bytes ? 0 : stage + stage_bytes;
  }

 private:
  static constexpr int chunks = tf32_channels * int{sizeof(float)} / chunk_bytes;  // of a pixel
  static constexpr int side = Shape::window_side;

  const Problem& p_;
  const float* input_;
  SharedAddress to_;
  int first_row_, column_;  // of the thread's copies; the row of the window, or which image
  int next_, end_;
  std::uint32_t stage_ = 0;
};

/// Three buffers for squares of doutput, 64 pixels of 64 channels, transposed: a row of 128 bytes
/// has a channel of four times 8 pixels, 32 bytes each, which one product takes; so there are two
/// blocks of 64 rows.
template <class Shape>
class TransposedSquares {
 public:
  static constexpr int rows_in_block = row_bytes / (square_side * int{sizeof(float)});  // of pixels
  static constexpr int block_bytes = tf32_channels * row_bytes;
  static constexpr int buffer_bytes = square_side / rows_in_block * block_bytes;
  static constexpr int bytes = 3 * buffer_bytes;

  /// A warp has 8 channels of 4 pixels, and 32 channels on 8 more: stores to 32 banks. The warps of
  /// a warpgroup share the channels; warpgroup g has columns 4 g to 4 g + 3, and the third none.
  __device__ TransposedSquares(const Problem& p, const float* doutput, int first_output)
      : p_(p), memory_(dynamic_shared<float>(bytes / int{sizeof(float)})) {
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    const int channel = thread / 32 % 4 * 8 + lane / 4;
    column_ = thread / 128 * 4 + lane % 4;
    doutput_ = doutput + first_output + channel;
    place_ = channel * row_floats + ((column_ / 4) ^ (channel % 8)) * 4 + column_ % 4;
  }

  /// Starts to load a square to registers.
  __device__ __forceinline__ void load(int number) {
    if (column_ >= square_side) return;
    const Pixel square = pixel_of(p_, number);
    const int h = square.row * square_side, w = square.column * square_side;
    const int height = p_.H / Shape::stride, width = p_.W / Shape::stride;
    const int step = (Shape::images == 1 ? width : square_side) * p_.O;
    int at = ((square.n * Shape::images * height + h) * width + w + column_) * p_.O;
#pragma unroll
    for (int row = 0; row < square_side; ++row, at += step) {
#pragma unroll
      for (int i = 0; i < 2; ++i) values_[row][i] = doutput_[at + i * 32];
    }
  }

  /// Writes a row of the square that was loaded, 8 pixels, to a buffer.
  __device__ __forceinline__ void store(int buffer, int row) {
    if (column_ >= square_side) return;
    const int begin = buffer * (buffer_bytes / 4) + row / rows_in_block * (block_bytes / 4) +
                      (place_ ^ row % rows_in_block * (slice_bytes / 4));
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      memory_[begin + i * 32 * row_floats] = round_for_product(values_[row][i]);
    }
  }

  /// Where a row of the square begins in a buffer, in bytes.
  static constexpr std::uint32_t row_begin(int row) {
    return static_cast<std::uint32_t>(row / rows_in_block * block_bytes +
                                      row % rows_in_block * slice_bytes);
  }

 private:
  static constexpr int row_floats = row_bytes / int{sizeof(float)};

  const Problem& p_;
  const float* doutput_;
  decltype(dynamic_shared<float>(0)) memory_;
  int column_, place_;  // place_: of the first row, in floats
  float values_[square_side][2];
};

/// A lane's part of 8 pixels of the window as the first matrix of a product, [64 channels, 8
/// pixels]: rows lane / 4 and that + 8 of its warp's 16, which stand for two neighbouring channels,
/// and pixels lane % 4 and that + 4.
template <class Shape>
class WindowFragments {
 public:
  /// `kernel_column` is the warpgroup's.
  __device__ WindowFragments(int kernel_column, int ring_begin)
      : memory_(dynamic_shared<Vector<float, 2>>((ring_begin + WindowRing<Shape>::bytes) /
                                                 pair_bytes)) {
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    const int channel = thread / 32 % 4 * 16 + lane / 4 * 2;
    first_ =
        ring_begin / pair_bytes + (kernel_column + lane % 4 * Shape::stride) * pitch + channel / 2;
  }

  __device__ __forceinline__ void load(std::uint32_t (&a)[4], std::uint32_t stage, int read) const {
    if (!Shape::is_used(read)) return;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Vector<float, 2> pair = memory_[first_ + static_cast<int>(stage) / pair_bytes +
                                            Shape::read_begin(read, half) * pitch];
      a[half * 2] = std::bit_cast<std::uint32_t>(round_for_product(pair[0]));
      a[half * 2 + 1] = std::bit_cast<std::uint32_t>(round_for_product(pair[1]));
    }
  }

 private:
  static constexpr int pair_bytes = 2 * int{sizeof(float)};
  static constexpr int pitch = WindowRing<Shape>::pitch / 2;

  decltype(dynamic_shared<Vector<float, 2>>(0)) memory_;
  int first_;
};

/// Sums [64 channels, 64 outputs] of each of the three taps of a warpgroup.
using ColumnSums = float[3][8][4];

/// Starts sums += the products of the 8 pixels of a read with what is multiplied with them, a
/// group.
template <class Shape>
__device__ __forceinline__ void start_products(const std::uint32_t (&a)[4], int read,
                                               MatrixDescriptor doutput, ColumnSums& sums) {
  begin_products();
#pragma unroll
  for (int tap = 0; tap < 3; ++tap) {
    const int row = Shape::row_of(read, tap);
    if (row < 0) continue;
    multiply_add(sums[tap], a, doutput + TransposedSquares<Shape>::row_begin(row));
  }
  commit_products();
}

/// sums += the products of squares [first, end). While the tensor cores work on the reads of one,
/// the next one, which was loaded before, is written; two reads before its end all warps meet, so
/// that nothing of the next one is waited for. What is written or copied then was used two squares
/// before. (Loads are started behind the fence of a meeting, which waits for them.)
template <class Shape>
__device__ __forceinline__ void multiply_squares(int first, int end, WindowRing<Shape>& ring,
                                                 TransposedSquares<Shape>& squares,
                                                 const WindowFragments<Shape>& window,
                                                 SharedAddress memory, ColumnSums& sums) {
  using Ring = WindowRing<Shape>;
  using Squares = TransposedSquares<Shape>;
  constexpr int rows_each = Shape::reads < 2 * square_side ? 2 : 1;  // written in the second half
  if (first >= end) return;
  const auto meet = [] {
    wait_for_copies<Ring::stages - 2>();
    publish_copies();
    __syncthreads();
  };
  const MatrixDescriptor buffers(memory, 8 * row_bytes, 0);
  // Fragments are loaded two reads before they are multiplied: shared memory is busy, and slow to
  // answer. Those of the next square's first reads, too.
  constexpr int ahead = 2, buffers_of_reads = Shape::fragment_buffers;
  std::uint32_t a[buffers_of_reads][4], stage = 0;
  int buffer = 0;
  squares.load(first);
#pragma unroll
  for (int row = 0; row < square_side; ++row) squares.store(0, row);
  meet();
  if (first + 1 < end) squares.load(first + 1);
#pragma unroll
  for (int read = 0; read < ahead; ++read) window.load(a[read], stage, read);
#pragma unroll 1
  for (int number = first; number < end; ++number) {
    const MatrixDescriptor doutput = buffers + buffer * Squares::buffer_bytes;
    buffer = buffer == 2 ? 0 : buffer + 1;
#pragma unroll
    for (int read = 0; read < Shape::reads; ++read) {
      start_products<Shape>(a[read % buffers_of_reads], read, doutput, sums);
      wait_for_products<1>();  // those of the read before, whose registers may be filled next
      const int late = read - (Shape::reads - ahead - square_side / rows_each);
      if (late >= 0 && read < Shape::reads - ahead && number + 1 < end) {
#pragma unroll
        for (int i = 0; i < rows_each; ++i) squares.store(buffer, late * rows_each + i);
      }
      if (read == Shape::reads - ahead) {
        meet();
        stage = Ring::next(stage);
        if (number + 2 < end) squares.load(number + 2);
      }
      const int next = (read + ahead) % Shape::reads;
      if (next >= ahead || number + 1 < end) {
        window.load(a[(read + ahead) % buffers_of_reads], stage, next);
      }
      if (read == 0) ring.fill();
    }
  }
  wait_for_products<0>();
  wait_for_copies<0>();
}

// sums [parts, O, 3, 3, C] over the squares of each part (blockIdx.y), as window_weight_kernel.
template <class Shape>
__global__ void __launch_bounds__(tf32_threads, 1)
    window_weight_tf32_kernel(const float* __restrict__ input, const float* __restrict__ doutput,
                              float* __restrict__ sums_of_parts, const Problem p) {
  const auto across = static_cast<unsigned>(p.C / tf32_channels);
  const int first_output = static_cast<int>(blockIdx.x / across) * tf32_channels;
  const int first_channel = static_cast<int>(blockIdx.x % across) * tf32_channels;
  const auto first = static_cast<int>(std::int64_t{p.pixels} * blockIdx.y / gridDim.y);
  const auto end = static_cast<int>(std::int64_t{p.pixels} * (blockIdx.y + 1) / gridDim.y);
  constexpr int ring_begin = TransposedSquares<Shape>::bytes;
  const auto all_memory = dynamic_shared<Vector<std::uint32_t, 4>>(
      (ring_begin + WindowRing<Shape>::bytes) / chunk_bytes);
  const SharedAddress memory(&all_memory[0]);
  if (memory.value % 1024 != 0) __trap();
  const int thread = static_cast<int>(threadIdx.x), kernel_column = thread / 128;

  WindowRing<Shape> ring(p, input, first_channel, first, end, memory, ring_begin);
  TransposedSquares<Shape> squares(p, doutput, first_output);
  const WindowFragments<Shape> window(kernel_column, ring_begin);
  ColumnSums sums = {};
  multiply_squares<Shape>(first, end, ring, squares, window, memory, sums);

  // Of a warp's rows, r and r + 8 are channels 2 r and 2 r + 1 of its 16.
  const int lane = thread % 32;
  const int channel = first_channel + thread / 32 % 4 * 16 + lane / 4 * 2;
  const std::int64_t output = std::int64_t{blockIdx.y} * p.O + first_output + lane % 4 * 2;
#pragma unroll
  for (int tap = 0; tap < 3; ++tap) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const std::int64_t row = (output + j * 8 + i) * window_taps + tap * 3 + kernel_column;
        store_vector(sums_of_parts + row * p.C + channel,
                     Vector<float, 2>{{sums[tap][j][i], sums[tap][j][i + 2]}});
      }
    }
  }
}

}  // namespace gradus::cuda::implicit_gemm::windows
