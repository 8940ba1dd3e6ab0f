// Augmentation: a block makes a view. Its pixels go through the crop and the colour steps in
// registers and meet in a work area [size, size, 3] only where they need each other: for the mean
// grey of the contrast, and for the blur.
#include <algorithm>

#include "data/internal/augment_color.h"
#include "data/internal/augment_kernels.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda {
namespace {

using data::AugmentedView;
using data::AugmentOptions;
using data::AugmentParameters;
using data::CropBox;
using data::Interpolation;
using data::JitterStep;

constexpr int block_size = 256;
using Partial = SharedArray<float, warp>;  // of a sum over the block

struct Color {
  float r, g, b;
};

/// Pixel (y, x) of the crop, resized to size x size. image: [height, width, 3].
template <Interpolation interpolation>
__device__ Color resized_pixel(const std::uint8_t* image, int width, const CropBox& box, int size,
                               int y, int x) {
  constexpr int taps = data::tap_count(interpolation);
  const data::ResizeTaps rows = data::resize_taps(interpolation, y, box.height, size);
  const data::ResizeTaps columns = data::resize_taps(interpolation, x, box.width, size);
  Color sum = {0.0f, 0.0f, 0.0f};
  for (int j = 0; j < taps; ++j) {
    Color column = {0.0f, 0.0f, 0.0f};
    for (int i = 0; i < taps; ++i) {
      const std::int64_t pixel =
          std::int64_t{box.top + rows.index[i]} * width + box.left + columns.index[j];
      const std::uint8_t* p = image + 3 * pixel;
      column.r += rows.weight[i] * static_cast<float>(p[0]);
      column.g += rows.weight[i] * static_cast<float>(p[1]);
      column.b += rows.weight[i] * static_cast<float>(p[2]);
    }
    sum.r += columns.weight[j] * column.r;
    sum.g += columns.weight[j] * column.g;
    sum.b += columns.weight[j] * column.b;
  }
  constexpr float scale = 1.0f / 255.0f;
  if constexpr (interpolation == Interpolation::bilinear) {
    return {scale * sum.r, scale * sum.g, scale * sum.b};
  } else {  // the cubic kernel overshoots
    return {data::clamp_unit(scale * sum.r), data::clamp_unit(scale * sum.g),
            data::clamp_unit(scale * sum.b)};
  }
}

// The colour steps of a view are numbered: 0 to 3 are the jitter's, in the order that was drawn,
// and 4 is the grayscale.
constexpr int grayscale_step = 4;
constexpr int step_end = 5;

/// The step that needs the mean grey of what the steps before it make; step_end if there is none.
__device__ int contrast_step(const AugmentParameters& p) {
  if (!p.jitter || p.contrast == 1.0f) return step_end;
  int step = 0;
  while (p.jitter_order[step] != JitterStep::contrast) ++step;
  return step;
}

__device__ void blend_with(Color& color, float other, float factor) {
  color = {data::blend(color.r, other, factor), data::blend(color.g, other, factor),
           data::blend(color.b, other, factor)};
}

__device__ float grey(const Color& color) { return data::grey(color.r, color.g, color.b); }

/// Steps [begin, end) on one pixel.
__device__ Color color_steps(const AugmentParameters& p, int begin, int end, float mean_grey,
                             Color color) {
  for (int step = p.jitter ? begin : grayscale_step; step < end && step < grayscale_step; ++step) {
    switch (p.jitter_order[step]) {
      case JitterStep::brightness:
        color = {data::brighten(color.r, p.brightness), data::brighten(color.g, p.brightness),
                 data::brighten(color.b, p.brightness)};
        break;
      case JitterStep::contrast:
        if (p.contrast != 1.0f) blend_with(color, mean_grey, p.contrast);
        break;
      case JitterStep::saturation: blend_with(color, grey(color), p.saturation); break;
      case JitterStep::hue:
        if (p.hue != 0.0f) data::shift_hue(color.r, color.g, color.b, p.hue);
        break;
    }
  }
  if (p.grayscale && end > grayscale_step) color.r = color.g = color.b = grey(color);
  return color;
}

/// Channel c of pixel (y, x), blurred along rows, then along columns. image: [size, size, 3].
template <class Image>
__device__ float blurred(const Image& image, int size, data::BlurWeights weights, int y, int x,
                         int c) {
  const int left = data::reflect_index(x - 1, size), right = data::reflect_index(x + 1, size);
  const auto along_row = [&](int row) {
    const int first = 3 * row * size + c;
    const float sides = image[first + 3 * left] + image[first + 3 * right];
    return weights.centre * image[first + 3 * x] + weights.side * sides;
  };
  const float sides =
      along_row(data::reflect_index(y - 1, size)) + along_row(data::reflect_index(y + 1, size));
  return weights.centre * along_row(y) + weights.side * sides;
}

/// One view, by all threads of a block. image: [height, width, 3], work and output: [size, size,
/// 3].
template <Interpolation interpolation, class WorkArea>
__device__ void make_view(const AugmentOptions& options, const AugmentParameters& p,
                          const std::uint8_t* image, int width, WorkArea work, Partial& partial,
                          float* output) {
  const int size = options.size, pixels = size * size;
  const int thread = static_cast<int>(threadIdx.x);
  const int contrast = contrast_step(p);
  const auto store = [&](int pixel, const Color& color) {
    work[3 * pixel] = color.r;
    work[3 * pixel + 1] = color.g;
    work[3 * pixel + 2] = color.b;
  };

  float grey_sum = 0.0f;
  for (int i = thread; i < pixels; i += block_size) {
    const int y = i / size, x = i % size;
    const Color source =
        resized_pixel<interpolation>(image, width, p.crop, size, y, p.flip ? size - 1 - x : x);
    const Color color = color_steps(p, 0, contrast, 0.0f, source);
    grey_sum += grey(color);
    store(i, color);
  }
  if (contrast < step_end) {
    const float mean =
        row_combine<block_size>(AddBoth{}, grey_sum, partial) / static_cast<float>(pixels);
    for (int i = thread; i < pixels; i += block_size) {  // each thread its own pixels again
      const Color color = {work[3 * i], work[3 * i + 1], work[3 * i + 2]};
      store(i, color_steps(p, contrast, step_end, mean, color));
    }
  }
  __syncthreads();

  const data::BlurWeights weights = data::blur_weights(p.blur_sigma);
  for (int i = thread; i < 3 * pixels; i += block_size) {  // neighbours write neighbours
    const int pixel = i / 3, c = i % 3;
    float value = 0.0f;
    if (p.blur) {
      value = blurred(work, size, weights, pixel / size, pixel % size, c);
    } else {
      value = work[i];
    }
    if (p.solarize) value = data::solarize(value, options.solarize_threshold);
    const float mean = c == 0 ? options.mean[0] : (c == 1 ? options.mean[1] : options.mean[2]);
    const float std = c == 0 ? options.std[0] : (c == 1 ? options.std[1] : options.std[2]);
    output[i] = data::normalize(value, mean, std);
  }
  __syncthreads();  // before the work area is used again
}

// views: [view_count], images: [N, height, width, 3], output: [view_count, size, size, 3]. The work
// area is shared memory, or else scratch: [gridDim.x, size, size, 3].
template <Interpolation interpolation, bool in_shared_memory>
__global__ void __launch_bounds__(block_size, 4)
    augment_kernel(AugmentOptions options, const AugmentedView* __restrict__ views,
                   std::int64_t view_count, const std::uint8_t* __restrict__ images, int height,
                   int width, float* scratch, float* __restrict__ output) {
  __shared__ Partial partial;
  const int view_values = 3 * options.size * options.size;
  const std::int64_t image_values = std::int64_t{3} * height * width;
  for (std::int64_t v = blockIdx.x; v < view_count; v += gridDim.x) {
    const std::uint8_t* image = images + views[v].sample * image_values;
    if constexpr (in_shared_memory) {
      make_view<interpolation>(options, views[v].parameters, image, width,
                               dynamic_shared<float>(view_values), partial,
                               output + v * view_values);
    } else {
      make_view<interpolation>(options, views[v].parameters, image, width,
                               scratch + std::int64_t{blockIdx.x} * view_values, partial,
                               output + v * view_values);
    }
  }
}

/// Bytes to DRAM and back, without the source's pixels (how many differ depends on the crops), and
/// the resize's arithmetic.
Work augment_work(const AugmentOptions& options, std::int64_t view_count) {
  const auto views = static_cast<double>(view_count);
  const double values = views * 3 * options.size * options.size;
  const int taps = data::tap_count(options.interpolation);
  return {.bytes = values * sizeof(float) + views * sizeof(AugmentedView),
          .flops = values * 2 * taps * (taps + 1)};
}

template <Interpolation interpolation>
void launch_augment(const AugmentOptions& options, const AugmentedView* views,
                    std::int64_t view_count, const std::uint8_t* images, int height, int width,
                    float* output) {
  constexpr std::size_t default_shared_bytes = std::size_t{48} << 10;
  const std::size_t view_bytes = sizeof(float) * 3 * options.size * options.size;
  Work work = augment_work(options, view_count);
  if (view_bytes + sizeof(Partial) <= default_shared_bytes) {  // up to 63 x 63
    const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(view_count, 1 << 20));
    launch("augment", augment_kernel<interpolation, true>,
           {dim3(blocks), dim3(block_size), view_bytes}, work, options, views, view_count, images,
           height, width, nullptr, output);
    return;
  }
  // As many work areas as the second-level cache holds.
  const auto blocks =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(l2_bytes() / view_bytes), 1, view_count);
  Scratch<float> scratch(blocks * 3 * options.size * options.size);
  work.cached_bytes = 2.0 * static_cast<double>(view_count) * static_cast<double>(view_bytes);
  launch("augment", augment_kernel<interpolation, false>,
         {dim3(static_cast<unsigned>(blocks)), dim3(block_size)}, work, options, views, view_count,
         images, height, width, scratch.data(), output);
}

}  // namespace

void augment(const AugmentOptions& options, const AugmentedView* views, std::int64_t view_count,
             const std::uint8_t* images, int height, int width, float* output) {
  if (options.interpolation == Interpolation::bilinear) {
    launch_augment<Interpolation::bilinear>(options, views, view_count, images, height, width,
                                            output);
  } else {
    launch_augment<Interpolation::bicubic>(options, views, view_count, images, height, width,
                                           output);
  }
}

}  // namespace gradus::cuda
