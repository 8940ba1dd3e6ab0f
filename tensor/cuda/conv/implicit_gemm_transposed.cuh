// The gradient of the weights in TF32 by warpgroups, whose products take float32 only in rows along
// k, while k is the pixel here and pixels are rows of channels. So a thread loads 4 channels of 4
// pixels each to registers, turns these by where it keeps them, and writes to the stage 4 rows of 4
// pixels each. doutput is rounded by the way. (To round the input too would take as long as the
// products do: a rounding is 4 instructions.)
//
//   memory            registers        stage
//   pixel 0  a b c d  a b c d          channel 0  a e i m
//   pixel 1  e f g h  e f g h          channel 1  b f j n
//   pixel 2  i j k l  i j k l          channel 2  c g k o
//   pixel 3  m n o p  m n o p          channel 3  d h l p
//
// Loads are started a step before they are written, while the tensor cores work on the step
// between.
#pragma once

#include "tensor/cuda/conv/implicit_gemm.cuh"

namespace gradus::cuda::implicit_gemm {

/// Fills stages of T::m channels of doutput and behind them T::n columns, each T::step_k channels
/// of which belong to one tap.
template <class T>
class TransposedCopies {
 public:
  __device__ TransposedCopies(const Problem& p, const float* input, const float* doutput,
                              int first_output, int first_column, int first_pixel)
      : p_(p),
        input_(input),
        doutput_(doutput),
        stages_(dynamic_shared<Vector<float, size>>(T::shared_bytes / chunk_bytes)) {
    // 64 threads share a panel, 8 quads of channels and 8 of pixels. The threads that write to
    // shared memory together, 8 neighbours, have 2 quads of channels and 4 of pixels: rows r and r
    // + 4, and by the swizzle 8 different places.
    const int thread = static_cast<int>(threadIdx.x) % 64;
    const int channels = thread % 2 + thread / 8 % 4 * 2, pixels = thread / 2 % 4 + thread / 32 * 4;
    pixel_ = first_pixel + pixels * size;
    first_panel_ = static_cast<int>(threadIdx.x) / 64;
    const int panels_of_tap = p.C / panel;
#pragma unroll
    for (int i = 0; i < blocks; ++i) {
      const int column = first_column / panel + panel_of(i) - panels_m;
      const int tap = max(column, 0) / panels_of_tap, row = tap / p.kernel;
      taps_[i] = {row, tap - row * p.kernel};
      offset_[i] = channels * size + (of_doutput(i) ? first_output + panel_of(i) * panel
                                                    : (row * p.W + tap - row * p.kernel) * p.C +
                                                          column % panels_of_tap * panel);
    }
    const int row = first_panel_ * panel + channels * size;
#pragma unroll
    for (int j = 0; j < size; ++j) to_[j] = (row + j) * row_chunks + (pixels ^ (row + j) % 8);
  }

  /// Starts to load the next step's elements to registers.
  __device__ __forceinline__ void load() {
    Pixel pixel = pixel_of(p_, min(pixel_, p_.pixels - 1));
#pragma unroll
    for (int k = 0; k < size; ++k) {
      const bool exists = pixel_ + k < p_.pixels;
      const int h = pixel.row * p_.stride - p_.padding, w = pixel.column * p_.stride - p_.padding;
      const int input_at = ((pixel.n * p_.H + h) * p_.W + w) * p_.C;
#pragma unroll
      for (int i = 0; i < blocks; ++i) {
        const bool inside_image =
            inside(h + taps_[i].row, p_.H) && inside(w + taps_[i].column, p_.W);
        const float* const from = of_doutput(i) ? doutput_ : input_;
        const int at = of_doutput(i) ? (pixel_ + k) * p_.O : input_at;
        values_[i][k] = {};
        if (exists && panel_of(i) < panels && (of_doutput(i) || inside_image)) {
          values_[i][k] = load_vector<size>(from + (at + offset_[i]));
        }
      }
      if (++pixel.column < p_.width) continue;
      pixel.column = 0;
      if (++pixel.row < p_.height) continue;
      pixel.row = 0;
      ++pixel.n;
    }
    pixel_ += T::step_k;
  }

  /// Writes what was loaded to a stage.
  __device__ __forceinline__ void store(std::uint32_t stage) {
#pragma unroll
    for (int i = 0; i < blocks; ++i) {
      if (panel_of(i) >= panels) continue;
      if (of_doutput(i)) {
#pragma unroll
        for (Vector<float, size>& pixel : values_[i]) {
#pragma unroll
          for (float& value : pixel.data) value = round_to_tf32(value);
        }
      }
#pragma unroll
      for (int j = 0; j < size; ++j) {
        Vector<float, size> turned;
#pragma unroll
        for (int k = 0; k < size; ++k) turned[k] = values_[i][k][j];
        stages_[static_cast<int>(stage) / chunk_bytes + i * panels_at_once * panel * row_chunks +
                to_[j]] = turned;
      }
    }
  }

 private:
  static constexpr int size = 4;           // pixels and channels of a thread's block
  static constexpr int panel = T::step_k;  // channels that belong to one tap
  static constexpr int panels_at_once = T::threads / 64;
  static constexpr int panels_m = T::m / panel, panels = panels_m + T::n / panel;
  static constexpr int blocks = (panels + panels_at_once - 1) / panels_at_once;
  static_assert(panels_m % panels_at_once == 0);

  struct Tap {
    int row, column;
  };

  /// That of the thread's i-th block, if there is one; a warp has the same.
  __device__ int panel_of(int i) const { return first_panel_ + i * panels_at_once; }
  static constexpr bool of_doutput(int i) { return i * panels_at_once < panels_m; }

  const Problem& p_;
  const float* input_;
  const float* doutput_;
  decltype(dynamic_shared<Vector<float, size>>(0)) stages_;
  int first_panel_;
  int pixel_;  // the thread's first one of the step that is loaded next
  Tap taps_[blocks];
  int offset_[blocks], to_[size];
  Vector<float, size> values_[blocks][size];  // pixel by pixel
};

/// sums += the products of `steps` stages. A stage is filled again two steps after its products
/// were started, one after they were waited for.
template <class T>
__device__ __forceinline__ void multiply_transposed(int steps, TransposedCopies<T>& copies,
                                                    SharedAddress stages, Sums<T>& sums) {
  static_assert(T::stages == 3);
  copies.load();
  copies.store(0);
  publish_copies();
  copies.load();
  __syncthreads();
  std::uint32_t stage = 0;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    multiply_stage<T, false>(stages, stage, sums);
    stage = next_stage<T>(stage);
    copies.store(stage);
    publish_copies();
    copies.load();  // behind the fence, which waits for loads
    wait_for_products<1>();
    __syncthreads();
  }
  wait_for_products<0>();
  __syncthreads();
}

}  // namespace gradus::cuda::implicit_gemm
