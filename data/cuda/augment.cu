// Augmentation: a block makes a view. Its pixels go through the crop and the colour steps in
// registers and meet in a work area [view height, view width, channels] only where they need each
// other: for the mean grey of the contrast, and for the blur. Colour steps are for images of three
// channels; those of other numbers have a kernel of their own.
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
using data::ViewFormat;

constexpr int block_size = 256;
using Partial = SharedArray<float, warp>;  // of a sum over the block

struct Color {
  float r, g, b;
};

/// Number of channels: where there are colours, known when it is compiled.
template <bool colored>
__device__ int channels_of(const ViewFormat& format) {
  return colored ? 3 : format.channels;
}

/// `count` channels of pixel (y, x) of the crop, resized to the view's size. image: [height, width,
/// channels], from the first of these channels on.
template <Interpolation interpolation, int count>
__device__ void resized_pixel(const ViewFormat& format, int channels, const std::uint8_t* image,
                              const CropBox& box, int y, int x, float (&pixel)[count]) {
  constexpr int taps = data::tap_count(interpolation);
  const data::ResizeTaps rows = data::resize_taps(interpolation, y, box.height, format.view_height);
  const data::ResizeTaps columns =
      data::resize_taps(interpolation, x, box.width, format.view_width);
  for (float& sum : pixel) sum = 0.0f;
  for (int j = 0; j < taps; ++j) {
    float column[count] = {};
    for (int i = 0; i < taps; ++i) {
      const std::int64_t source =
          std::int64_t{box.top + rows.index[i]} * format.width + box.left + columns.index[j];
      const std::uint8_t* p = image + channels * source;
      for (int c = 0; c < count; ++c) column[c] += rows.weight[i] * static_cast<float>(p[c]);
    }
    for (int c = 0; c < count; ++c) pixel[c] += columns.weight[j] * column[c];
  }
  constexpr float scale = 1.0f / 255.0f;
  for (float& value : pixel) {
    value *= scale;
    if (interpolation == Interpolation::bicubic) value = data::clamp_unit(value);  // it overshoots
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

/// Channel c of pixel (y, x), blurred along rows, then along columns. image: a view.
template <class Image>
__device__ float blurred(const ViewFormat& format, int channels, const Image& image,
                         data::BlurWeights weights, int y, int x, int c) {
  const int left = data::reflect_index(x - 1, format.view_width);
  const int right = data::reflect_index(x + 1, format.view_width);
  const auto along_row = [&](int row) {
    const int first = channels * row * format.view_width + c;
    const float sides = image[first + channels * left] + image[first + channels * right];
    return weights.centre * image[first + channels * x] + weights.side * sides;
  };
  const float sides = along_row(data::reflect_index(y - 1, format.view_height)) +
                      along_row(data::reflect_index(y + 1, format.view_height));
  return weights.centre * along_row(y) + weights.side * sides;
}

/// The crop and the colour steps of a view of three channels, into the work area.
template <Interpolation interpolation, class WorkArea>
__device__ void crop_and_color(const ViewFormat& format, const AugmentParameters& p,
                               const std::uint8_t* image, WorkArea work, Partial& partial) {
  const int width = format.view_width, pixels = format.view_pixels();
  const int thread = static_cast<int>(threadIdx.x);
  const int contrast = contrast_step(p);
  const auto store = [&](int pixel, const Color& color) {
    work[3 * pixel] = color.r;
    work[3 * pixel + 1] = color.g;
    work[3 * pixel + 2] = color.b;
  };

  float grey_sum = 0.0f;
  for (int i = thread; i < pixels; i += block_size) {
    const int y = i / width, x = i % width;
    float source[3];
    resized_pixel<interpolation>(format, 3, image, p.crop, y, p.flip ? width - 1 - x : x, source);
    const Color color = color_steps(p, 0, contrast, 0.0f, {source[0], source[1], source[2]});
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
}

/// The crop of a view of any number of channels, into the work area.
template <Interpolation interpolation, class WorkArea>
__device__ void crop(const ViewFormat& format, const AugmentParameters& p,
                     const std::uint8_t* image, WorkArea work) {
  const int width = format.view_width, values = format.view_values();
  for (int i = static_cast<int>(threadIdx.x); i < values; i += block_size) {
    const int pixel = i / format.channels, c = i % format.channels;
    const int y = pixel / width, x = pixel % width;
    float value[1];
    resized_pixel<interpolation>(format, format.channels, image + c, p.crop, y,
                                 p.flip ? width - 1 - x : x, value);
    work[i] = value[0];
  }
}

/// One view, by all threads of a block. image: [height, width, channels], work and output: [view
/// height, view width, channels].
template <Interpolation interpolation, bool colored, class WorkArea>
__device__ void make_view(const AugmentOptions& options, const ViewFormat& format,
                          const AugmentParameters& p, const std::uint8_t* image, WorkArea work,
                          Partial& partial, float* output) {
  if constexpr (colored) {
    crop_and_color<interpolation>(format, p, image, work, partial);
  } else {
    crop<interpolation>(format, p, image, work);
  }
  __syncthreads();

  const data::BlurWeights weights = data::blur_weights(p.blur_sigma);
  const int channels = channels_of<colored>(format), width = format.view_width;
  const int values = channels * format.view_pixels();
  for (int i = static_cast<int>(threadIdx.x); i < values; i += block_size) {
    const int pixel = i / channels, c = i % channels;  // neighbours write neighbours
    float value = 0.0f;
    if (p.blur) {
      value = blurred(format, channels, work, weights, pixel / width, pixel % width, c);
    } else {
      value = work[i];
    }
    if (p.solarize) value = data::solarize(value, options.solarize_threshold);
    output[i] = data::normalize(value, format.mean[c], format.std[c]);
  }
  __syncthreads();  // before the work area is used again
}

// views: [view_count], images: [N, height, width, channels], output: [view_count, view height, view
// width, channels]. The work area is shared memory, or else scratch: a view for each block.
template <Interpolation interpolation, bool colored, bool in_shared_memory>
__global__ void __launch_bounds__(block_size, 4)
    augment_kernel(AugmentOptions options, ViewFormat format,
                   const AugmentedView* __restrict__ views, std::int64_t view_count,
                   const std::uint8_t* __restrict__ images, float* scratch,
                   float* __restrict__ output) {
  __shared__ Partial partial;
  const int channels = channels_of<colored>(format);
  const int view_values = channels * format.view_pixels();
  const std::int64_t image_values = std::int64_t{channels} * format.height * format.width;
  for (std::int64_t v = blockIdx.x; v < view_count; v += gridDim.x) {
    const std::uint8_t* image = images + views[v].sample * image_values;
    if constexpr (in_shared_memory) {
      make_view<interpolation, colored>(options, format, views[v].parameters, image,
                                        dynamic_shared<float>(view_values), partial,
                                        output + v * view_values);
    } else {
      make_view<interpolation, colored>(options, format, views[v].parameters, image,
                                        scratch + std::int64_t{blockIdx.x} * view_values, partial,
                                        output + v * view_values);
    }
  }
}

/// Bytes to DRAM and back, without the source's pixels (how many differ depends on the crops), and
/// the resize's arithmetic.
Work augment_work(const AugmentOptions& options, const ViewFormat& format,
                  std::int64_t view_count) {
  const auto views = static_cast<double>(view_count);
  const double values = views * format.view_values();
  const int taps = data::tap_count(options.interpolation);
  return {.bytes = values * sizeof(float) + views * sizeof(AugmentedView),
          .flops = values * 2 * taps * (taps + 1)};
}

template <Interpolation interpolation, bool colored>
void launch_augment(const AugmentOptions& options, const ViewFormat& format,
                    const AugmentedView* views, std::int64_t view_count, const std::uint8_t* images,
                    float* output) {
  constexpr std::size_t default_shared_bytes = std::size_t{48} << 10;
  const std::size_t view_bytes = sizeof(float) * static_cast<std::size_t>(format.view_values());
  Work work = augment_work(options, format, view_count);
  if (view_bytes + sizeof(Partial) <= default_shared_bytes) {  // up to 63 x 63 x 3
    const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(view_count, 1 << 20));
    launch("augment", augment_kernel<interpolation, colored, true>,
           {dim3(blocks), dim3(block_size), view_bytes}, work, options, format, views, view_count,
           images, nullptr, output);
    return;
  }
  // As many work areas as the second-level cache holds.
  const auto blocks =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(l2_bytes() / view_bytes), 1, view_count);
  Scratch<float> scratch(blocks * format.view_values());
  work.cached_bytes = 2.0 * static_cast<double>(view_count) * static_cast<double>(view_bytes);
  launch("augment", augment_kernel<interpolation, colored, false>,
         {dim3(static_cast<unsigned>(blocks)), dim3(block_size)}, work, options, format, views,
         view_count, images, scratch.data(), output);
}

}  // namespace

void augment(const AugmentOptions& options, const ViewFormat& format, const AugmentedView* views,
             std::int64_t view_count, const std::uint8_t* images, float* output) {
  const bool colored = format.channels == 3;
  const auto launch_with = options.interpolation == Interpolation::bilinear
                               ? (colored ? launch_augment<Interpolation::bilinear, true>
                                          : launch_augment<Interpolation::bilinear, false>)
                               : (colored ? launch_augment<Interpolation::bicubic, true>
                                          : launch_augment<Interpolation::bicubic, false>);
  launch_with(options, format, views, view_count, images, output);
}

}  // namespace gradus::cuda
