// The column matrix (im2col.h) exists only one cache-sized block a thread. Blocks depend on the
// shapes alone and partial sums are added in order, so that results do not depend on the number of
// threads.
#include "tensor/cpu/conv/column_conv.h"

#include <algorithm>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/conv/im2col.h"
#include "tensor/cpu/gemm/gemm.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace gradus::cpu::columns {
namespace {

Range all_kernel_rows(const Conv2dGeometry& g) { return {0, g.kernel.height}; }

/// Output pixels a block: its columns fill about half of a second-level cache (512 KiB of float),
/// yet a product has enough rows to pay for the packing of the weights.
std::int64_t pixels_per_block(std::int64_t columns) {
  constexpr std::int64_t elements = 128 * 1024, fewest = 128, most = 1024;
  return std::clamp(elements / std::max<std::int64_t>(columns, 1), fewest, most);
}

/// A matrix in memory: rows of some width, `stride` elements apart.
template <class T>
struct Rows {
  const T* data;
  std::int64_t stride;
};

/// A block of the column matrix: in place where it is the input itself, otherwise in `scratch`.
template <class T>
Rows<T> gather_columns(const T* input, T* scratch, const Conv2dGeometry& g,
                       const ColumnBlock& block) {
  if (g.is_pointwise()) {
    return {input + block.pixels.begin * g.C + block.group * (g.C / g.groups), g.C};
  }
  im2col(input, scratch, g, block);
  return {scratch, columns_of(g, block.kernel_rows)};
}

template <class T>
void add_bias(const T* bias, T* output, std::int64_t pixels, std::int64_t O) {
  for (std::int64_t i = 0; i < pixels; ++i) {
    for (std::int64_t o = 0; o < O; ++o) output[i * O + o] += bias[o];
  }
}

/// How the weight gradient [O, kH, kW, C / groups] is shared out: tiles of it (a range of output
/// channels of one group, a range of kernel rows), and sums over parts of the output pixels.
struct WeightTasks {
  std::int64_t channel_tiles, kernel_row_tiles, pixel_parts;

  explicit WeightTasks(const Conv2dGeometry& g) {
    constexpr std::int64_t widest = 256, longest = 1024, enough_tasks = 16;
    channel_tiles = divide_up(g.O / g.groups, widest);
    kernel_row_tiles = g.columns() > longest ? g.kernel.height : 1;
    constexpr std::int64_t fewest_pixels = 256;
    const std::int64_t tiles = g.groups * channel_tiles * kernel_row_tiles;
    pixel_parts = std::clamp<std::int64_t>(
        enough_tasks / tiles, 1, std::max<std::int64_t>(g.output_pixels() / fewest_pixels, 1));
  }

  std::int64_t count(const Conv2dGeometry& g) const {
    return g.groups * channel_tiles * kernel_row_tiles * pixel_parts;
  }
};

/// dweight's tile = doutput^T columns, summed over `pixels` block by block. `channels` are counted
/// within the group; dweight points to the whole weight.
template <class T>
void accumulate_weight_tile(const T* input, const T* doutput, T* dweight, T* scratch,
                            const Conv2dGeometry& g, std::int64_t group, Range channels,
                            Range kernel_rows, Range pixels) {
  const std::int64_t columns = columns_of(g, kernel_rows);
  const std::int64_t weight_stride = g.columns();
  const std::int64_t first_channel = group * (g.O / g.groups) + channels.begin;
  T* tile = dweight + first_channel * weight_stride + columns_of(g, {0, kernel_rows.begin});
  const std::int64_t block_size = pixels_per_block(columns);
  std::int64_t begin = pixels.begin;
  do {  // at least once: the sum over no pixels is zero
    const Range block{begin, std::min(begin + block_size, pixels.end)};
    const Rows<T> x = gather_columns(input, scratch, g, {block, kernel_rows, group});
    gemm<T>(true, false, channels.size(), columns, block.size(), 1,
            doutput + block.begin * g.O + first_channel, g.O, x.data, x.stride,
            begin == pixels.begin ? 0 : 1, tile, weight_stride);
    begin = block.end;
  } while (begin < pixels.end);
}

}  // namespace

template <class T>
void conv2d(const T* input, const T* weight, const T* bias, T* output, const Conv2dGeometry& g) {
  const std::int64_t pixels = g.output_pixels();
  const std::int64_t columns = g.columns();
  const std::int64_t outputs = g.O / g.groups;
  const std::int64_t block_size = pixels_per_block(columns);
  const std::int64_t blocks = divide_up(pixels, block_size);
  const ThreadScratch<T> scratch(g.is_pointwise() ? 0 : block_size * columns);
  parallel_tasks(blocks, [&](std::int64_t i) {
    const Range block{i * block_size, std::min((i + 1) * block_size, pixels)};
    T* y = output + block.begin * g.O;
    for (std::int64_t group = 0; group < g.groups; ++group) {
      const Rows<T> x = gather_columns(input, scratch.get(), g, {block, all_kernel_rows(g), group});
      gemm<T>(false, true, block.size(), outputs, columns, 1, x.data, x.stride,
              weight + group * outputs * columns, columns, 0, y + group * outputs, g.O);
    }
    if (bias) add_bias(bias, y, block.size(), g.O);
  });
}

template <class T>
void conv2d_backward_input(const T* doutput, const T* weight, T* dinput, const Conv2dGeometry& g) {
  // Windows overlap only within an image, so a task takes whole images.
  const std::int64_t image_pixels = g.out_height * g.out_width;
  const std::int64_t columns = g.columns();
  const std::int64_t outputs = g.O / g.groups, channels = g.C / g.groups;
  const std::int64_t block_size = pixels_per_block(columns);
  const std::int64_t images_per_task = std::max<std::int64_t>(block_size / image_pixels, 1);
  const std::int64_t tasks = divide_up(g.N, images_per_task);
  const bool pointwise = g.is_pointwise();
  const ThreadScratch<T> scratch(pointwise ? 0 : block_size * columns);
  parallel_tasks(tasks, [&](std::int64_t task) {
    const Range images{task * images_per_task, std::min((task + 1) * images_per_task, g.N)};
    if (!pointwise) {
      std::fill(dinput + images.begin * g.H * g.W * g.C, dinput + images.end * g.H * g.W * g.C,
                T(0));
    }
    for (std::int64_t begin = images.begin * image_pixels; begin < images.end * image_pixels;
         begin += block_size) {
      const Range block{begin, std::min(begin + block_size, images.end * image_pixels)};
      for (std::int64_t group = 0; group < g.groups; ++group) {
        T* dx = pointwise ? dinput + block.begin * g.C + group * channels : scratch.get();
        gemm<T>(false, false, block.size(), columns, outputs, 1,
                doutput + block.begin * g.O + group * outputs, g.O,
                weight + group * outputs * columns, columns, 0, dx, pointwise ? g.C : columns);
        if (!pointwise) add_col2im(dx, dinput, g, {block, all_kernel_rows(g), group});
      }
    }
  });
}

template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, T* dweight, const Conv2dGeometry& g) {
  const WeightTasks tasks(g);
  const std::int64_t count = tasks.count(g);
  const std::int64_t columns = g.columns();
  const std::int64_t tile_columns = columns / tasks.kernel_row_tiles;
  const std::int64_t weights = g.O * columns;
  const ThreadScratch<T> scratch(g.is_pointwise() ? 0
                                                  : pixels_per_block(tile_columns) * tile_columns);
  // The first part of the pixels is summed in dweight, the others in arrays of their own.
  const Scratch<T> others((tasks.pixel_parts - 1) * weights);
  parallel_tasks(count, [&](std::int64_t task) {
    std::int64_t rest = task;
    const auto next = [&rest](std::int64_t size) {
      const std::int64_t index = rest % size;
      rest /= size;
      return index;
    };
    const Range kernel_rows =
        part_of(g.kernel.height, tasks.kernel_row_tiles, next(tasks.kernel_row_tiles));
    const Range channels = part_of(g.O / g.groups, tasks.channel_tiles, next(tasks.channel_tiles));
    const std::int64_t group = next(g.groups);
    const std::int64_t part = rest;
    T* into = part == 0 ? dweight : others.data() + (part - 1) * weights;
    accumulate_weight_tile(input, doutput, into, scratch.get(), g, group, channels, kernel_rows,
                           part_of(g.output_pixels(), tasks.pixel_parts, part));
  });
#pragma omp parallel for schedule(static) if (weights > 16384)
  for (std::int64_t i = 0; i < weights; ++i) {
    T sum = dweight[i];
    for (std::int64_t part = 1; part < tasks.pixel_parts; ++part) {
      sum += others.data()[(part - 1) * weights + i];
    }
    dweight[i] = sum;
  }
}

GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(conv2d)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(conv2d_backward_input)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(conv2d_backward_weight)

}  // namespace gradus::cpu::columns
