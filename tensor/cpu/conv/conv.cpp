// Chooses the way of each convolution. float and bfloat16: Winograd's algorithm (winograd.h)
// where that is faster (choice.h), otherwise register-blocked products (direct_conv.h). double,
// groups and dilation: the column matrix (column_conv.h).
#include <algorithm>
#include <type_traits>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/conv/choice.h"
#include "tensor/cpu/conv/column_conv.h"
#include "tensor/cpu/conv/direct_conv.h"
#include "tensor/cpu/conv/winograd.h"
#include "tensor/cpu/scratch.h"

namespace gradus::cpu {
namespace {

// --- bfloat16 by the column matrix: a few images at a time, converted to float -----------------

std::int64_t input_size(const Conv2dGeometry& g) { return g.H * g.W * g.C; }
std::int64_t output_size(const Conv2dGeometry& g) { return g.out_height * g.out_width * g.O; }

/// Calls function(first image, geometry of the part, room for its inputs, room for its outputs) for
/// consecutive groups of images, whose float copies take at most some 16 MiB each.
template <class Function>
void for_each_part(const Conv2dGeometry& g, const Function& function) {
  constexpr std::int64_t elements = std::int64_t{4} << 20;
  const std::int64_t fit = elements / std::max(input_size(g), output_size(g));
  const std::int64_t images = std::clamp<std::int64_t>(fit, 1, std::max<std::int64_t>(g.N, 1));
  const Scratch<float> x(images * input_size(g)), y(images * output_size(g));
  for (std::int64_t n = 0; n < g.N; n += images) {
    Conv2dGeometry part = g;
    part.N = std::min(images, g.N - n);
    function(n, part, x.data(), y.data());
  }
}

void convert_and_convolve(const BFloat16* input, const float* weight, const float* bias,
                          BFloat16* output, const Conv2dGeometry& g) {
  for_each_part(g, [&](std::int64_t n, const Conv2dGeometry& part, float* x, float* y) {
    cast(input + n * input_size(g), x, part.N * input_size(g));
    columns::conv2d(x, weight, bias, y, part);
    cast(y, output + n * output_size(g), part.N * output_size(g));
  });
}

void convert_and_convolve_back(const BFloat16* doutput, const float* weight, BFloat16* dinput,
                               const Conv2dGeometry& g) {
  for_each_part(g, [&](std::int64_t n, const Conv2dGeometry& part, float* dx, float* dy) {
    cast(doutput + n * output_size(g), dy, part.N * output_size(g));
    columns::conv2d_backward_input(dy, weight, dx, part);
    cast(dx, dinput + n * input_size(g), part.N * input_size(g));
  });
}

void convert_and_sum_weight(const BFloat16* input, const BFloat16* doutput, float* dweight,
                            const Conv2dGeometry& g) {
  const std::int64_t weights = g.O * g.columns();
  const Scratch<float> partial(weights);
  fill(dweight, 0.0f, weights);
  for_each_part(g, [&](std::int64_t n, const Conv2dGeometry& part, float* x, float* dy) {
    cast(input + n * input_size(g), x, part.N * input_size(g));
    cast(doutput + n * output_size(g), dy, part.N * output_size(g));
    columns::conv2d_backward_weight(x, dy, partial.data(), part);
    add_scaled(1.0f, partial.data(), dweight, weights);
  });
}

}  // namespace

template <class T>
void conv2d(const T* input, const Compute<T>* weight, const Compute<T>* bias, T* output,
            const Conv2dGeometry& g) {
  if constexpr (!std::is_same_v<T, double>) {
    if (winograd_is_faster<T>(g, ConvPass::forward))
      return winograd::conv2d(input, weight, bias, output, g);
    if (direct::supports(g)) return direct::conv2d(input, weight, bias, output, g);
  }
  if constexpr (std::is_same_v<T, BFloat16>) {
    convert_and_convolve(input, weight, bias, output, g);
  } else {
    columns::conv2d(input, weight, bias, output, g);
  }
}

template <class T>
void conv2d_with_statistics(const T* input, const Compute<T>* weight, T* output, Compute<T>* mean,
                            Compute<T>* variance, const Conv2dGeometry& g) {
  conv2d(input, weight, static_cast<const Compute<T>*>(nullptr), output, g);
  batch_norm_statistics(output, mean, variance, g.output_pixels(), g.O);
}

template <class T>
void conv2d_backward_input(const T* doutput, const Compute<T>* weight, T* dinput,
                           const Conv2dGeometry& g) {
  if constexpr (!std::is_same_v<T, double>) {
    if (winograd_is_faster<T>(g, ConvPass::input_gradient))
      return winograd::conv2d_backward_input(doutput, weight, dinput, g);
    if (direct::supports(g)) return direct::conv2d_backward_input(doutput, weight, dinput, g);
  }
  if constexpr (std::is_same_v<T, BFloat16>) {
    convert_and_convolve_back(doutput, weight, dinput, g);
  } else {
    columns::conv2d_backward_input(doutput, weight, dinput, g);
  }
}

template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, Compute<T>* dweight,
                            const Conv2dGeometry& g) {
  if constexpr (!std::is_same_v<T, double>) {
    if (winograd_is_faster<T>(g, ConvPass::weight_gradient))
      return winograd::conv2d_backward_weight(input, doutput, dweight, g);
    if (direct::supports(g)) return direct::conv2d_backward_weight(input, doutput, dweight, g);
  }
  if constexpr (std::is_same_v<T, BFloat16>) {
    convert_and_sum_weight(input, doutput, dweight, g);
  } else {
    columns::conv2d_backward_weight(input, doutput, dweight, g);
  }
}

GRADUS_INSTANTIATE_FLOATS(conv2d)
GRADUS_INSTANTIATE_FLOATS(conv2d_backward_input)
GRADUS_INSTANTIATE_FLOATS(conv2d_backward_weight)
GRADUS_INSTANTIATE_FLOATS(conv2d_with_statistics)

}  // namespace gradus::cpu
