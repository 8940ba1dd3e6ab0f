// Convolution of bfloat16 activations on the CPU: a few images at a time are converted to float32,
// convolved, and converted back. It serves correctness; float32 is faster here.
#include <algorithm>

#include "tensor/kernels.h"
#include "tensor/tensor.h"

namespace gradus::cpu {
namespace {

std::int64_t input_size(const Conv2dGeometry& g) { return g.H * g.W * g.C; }
std::int64_t output_size(const Conv2dGeometry& g) { return g.out_height * g.out_width * g.O; }

/// Calls function(first image, geometry of the part) for consecutive groups of images, whose float
/// copies take at most some 16 MiB.
template <class Function>
void for_each_part(const Conv2dGeometry& g, const Function& function) {
  constexpr std::int64_t elements = std::int64_t{4} << 20;
  const std::int64_t images =
      std::max<std::int64_t>(elements / std::max(input_size(g), output_size(g)), 1);
  for (std::int64_t n = 0; n < g.N; n += images) {
    Conv2dGeometry part = g;
    part.N = std::min(images, g.N - n);
    function(n, part);
  }
}

Tensor empty_float(std::int64_t n) { return Tensor({n}, DType::float32, Device::cpu); }

Tensor to_float(const BFloat16* x, std::int64_t n) {
  Tensor y = empty_float(n);
  cast(x, y.data<float>(), n);
  return y;
}

}  // namespace

template <>
void conv2d(const BFloat16* input, const float* weight, const float* bias, BFloat16* output,
            const Conv2dGeometry& g) {
  for_each_part(g, [&](std::int64_t n, const Conv2dGeometry& part) {
    const Tensor x = to_float(input + n * input_size(g), part.N * input_size(g));
    Tensor y = empty_float(part.N * output_size(g));
    conv2d(x.data<float>(), weight, bias, y.data<float>(), part);
    cast(y.data<float>(), output + n * output_size(g), y.numel());
  });
}

template <>
void conv2d_backward_input(const BFloat16* doutput, const float* weight, BFloat16* dinput,
                           const Conv2dGeometry& g) {
  for_each_part(g, [&](std::int64_t n, const Conv2dGeometry& part) {
    const Tensor dy = to_float(doutput + n * output_size(g), part.N * output_size(g));
    Tensor dx = empty_float(part.N * input_size(g));
    conv2d_backward_input(dy.data<float>(), weight, dx.data<float>(), part);
    cast(dx.data<float>(), dinput + n * input_size(g), dx.numel());
  });
}

template <>
void conv2d_backward_weight(const BFloat16* input, const BFloat16* doutput, float* dweight,
                            const Conv2dGeometry& g) {
  const std::int64_t weights = g.O * g.kernel.height * g.kernel.width * (g.C / g.groups);
  Tensor partial = empty_float(weights);
  fill(dweight, 0.0f, weights);
  for_each_part(g, [&](std::int64_t n, const Conv2dGeometry& part) {
    const Tensor x = to_float(input + n * input_size(g), part.N * input_size(g));
    const Tensor dy = to_float(doutput + n * output_size(g), part.N * output_size(g));
    conv2d_backward_weight(x.data<float>(), dy.data<float>(), partial.data<float>(), part);
    add_scaled(1.0f, partial.data<float>(), dweight, weights);
  });
}

}  // namespace gradus::cpu
