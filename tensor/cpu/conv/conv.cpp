// Chooses the way of each convolution. float and bfloat16: Winograd's algorithm where that is
// faster (winograd.h), otherwise register-blocked products (direct_conv.h). double, groups and
// dilation: the column matrix (column_conv.h).
#include <algorithm>
#include <type_traits>

#include <gradus/tensor/tensor.h>
#include "tensor/backend/kernels.h"
#include "tensor/cpu/conv/column_conv.h"
#include "tensor/cpu/conv/direct_conv.h"
#include "tensor/cpu/conv/winograd.h"

namespace gradus::cpu {
namespace {

// --- bfloat16 by the column matrix: a few images at a time, converted to float
// --------------------

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

void convert_and_convolve(const BFloat16* input, const float* weight, const float* bias,
                          BFloat16* output, const Conv2dGeometry& g) {
  for_each_part(g, [&](std::int64_t n, const Conv2dGeometry& part) {
    const Tensor x = to_float(input + n * input_size(g), part.N * input_size(g));
    Tensor y = empty_float(part.N * output_size(g));
    columns::conv2d(x.data<float>(), weight, bias, y.data<float>(), part);
    cast(y.data<float>(), output + n * output_size(g), y.numel());
  });
}

void convert_and_convolve_back(const BFloat16* doutput, const float* weight, BFloat16* dinput,
                               const Conv2dGeometry& g) {
  for_each_part(g, [&](std::int64_t n, const Conv2dGeometry& part) {
    const Tensor dy = to_float(doutput + n * output_size(g), part.N * output_size(g));
    Tensor dx = empty_float(part.N * input_size(g));
    columns::conv2d_backward_input(dy.data<float>(), weight, dx.data<float>(), part);
    cast(dx.data<float>(), dinput + n * input_size(g), dx.numel());
  });
}

void convert_and_sum_weight(const BFloat16* input, const BFloat16* doutput, float* dweight,
                            const Conv2dGeometry& g) {
  const std::int64_t weights = g.O * g.kernel.height * g.kernel.width * (g.C / g.groups);
  Tensor partial = empty_float(weights);
  fill(dweight, 0.0f, weights);
  for_each_part(g, [&](std::int64_t n, const Conv2dGeometry& part) {
    const Tensor x = to_float(input + n * input_size(g), part.N * input_size(g));
    const Tensor dy = to_float(doutput + n * output_size(g), part.N * output_size(g));
    columns::conv2d_backward_weight(x.data<float>(), dy.data<float>(), partial.data<float>(), part);
    add_scaled(1.0f, partial.data<float>(), dweight, weights);
  });
}

}  // namespace

template <class T>
void conv2d(const T* input, const Compute<T>* weight, const Compute<T>* bias, T* output,
            const Conv2dGeometry& g) {
  if constexpr (!std::is_same_v<T, double>) {
    if (const int side = winograd::side_for(g)) {
      winograd::conv2d(input, nullptr, weight, bias, output, g, side);
      return;
    }
    if (direct::supports(g)) return direct::conv2d(input, weight, bias, output, g);
  }
  if constexpr (std::is_same_v<T, BFloat16>) {
    convert_and_convolve(input, weight, bias, output, g);
  } else {
    columns::conv2d(input, weight, bias, output, g);
  }
}

template <class T>
void conv2d_backward_input(const T* doutput, const Compute<T>* weight, T* dinput,
                           const Conv2dGeometry& g) {
  if constexpr (!std::is_same_v<T, double>) {
    if (const int side = winograd::side_for(g)) {
      winograd::conv2d_backward_input(doutput, weight, dinput, g, side);
      return;
    }
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
    if (const int side = winograd::side_for(g)) {
      return winograd::conv2d_backward_weight(input, nullptr, doutput, dweight, g, side);
    }
    if (direct::supports(g)) return direct::conv2d_backward_weight(input, doutput, dweight, g);
  }
  if constexpr (std::is_same_v<T, BFloat16>) {
    convert_and_sum_weight(input, doutput, dweight, g);
  } else {
    columns::conv2d_backward_weight(input, doutput, dweight, g);
  }
}

#define GRADUS_INSTANTIATE(T)                                                                     \
  template void conv2d<T>(const T*, const Compute<T>*, const Compute<T>*, T*,                     \
                          const Conv2dGeometry&);                                                 \
  template void conv2d_backward_input<T>(const T*, const Compute<T>*, T*, const Conv2dGeometry&); \
  template void conv2d_backward_weight<T>(const T*, const T*, Compute<T>*, const Conv2dGeometry&);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
GRADUS_INSTANTIATE(BFloat16)
#undef GRADUS_INSTANTIATE

}  // namespace gradus::cpu
