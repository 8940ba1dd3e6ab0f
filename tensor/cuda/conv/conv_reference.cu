#include "tensor/cuda/conv/conv_reference.h"

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"

namespace gradus::cuda::reference {
namespace {

// output [N, P, Q, O]; bias [O] or null.
template <class T>
__global__ void conv2d_kernel(const T* input, const Compute<T>* weight, const Compute<T>* bias,
                              T* output, Conv2dGeometry g) {
  const std::int64_t channels = g.C / g.groups;
  for (auto i = first_index<std::int64_t>(); i < g.N * g.out_height * g.out_width * g.O;
       i += index_stride<std::int64_t>()) {
    const std::int64_t o = i % g.O, q = i / g.O % g.out_width;
    const std::int64_t p = i / g.O / g.out_width % g.out_height;
    const std::int64_t n = i / g.O / g.out_width / g.out_height;
    const std::int64_t first_channel = o / (g.O / g.groups) * channels;
    double sum = bias ? static_cast<double>(bias[o]) : 0;
    for (std::int64_t r = 0; r < g.kernel.height; ++r) {
      for (std::int64_t s = 0; s < g.kernel.width; ++s) {
        const std::int64_t h = p * g.stride.height - g.padding.height + r * g.dilation.height;
        const std::int64_t w = q * g.stride.width - g.padding.width + s * g.dilation.width;
        if (h < 0 || h >= g.H || w < 0 || w >= g.W) continue;
        const T* x = input + ((n * g.H + h) * g.W + w) * g.C + first_channel;
        const Compute<T>* v = weight + ((o * g.kernel.height + r) * g.kernel.width + s) * channels;
        for (std::int64_t c = 0; c < channels; ++c)
          sum += static_cast<double>(x[c]) * static_cast<double>(v[c]);
      }
    }
    output[i] = static_cast<T>(sum);
  }
}

// dinput [N, H, W, C]: the sum over all outputs that read the element.
template <class T>
__global__ void backward_input_kernel(const T* doutput, const Compute<T>* weight, T* dinput,
                                      Conv2dGeometry g) {
  const std::int64_t channels = g.C / g.groups, outputs = g.O / g.groups;
  for (auto i = first_index<std::int64_t>(); i < g.N * g.H * g.W * g.C;
       i += index_stride<std::int64_t>()) {
    const std::int64_t c = i % g.C, w = i / g.C % g.W, h = i / g.C / g.W % g.H;
    const std::int64_t n = i / g.C / g.W / g.H, group = c / channels;
    double sum = 0;
    for (std::int64_t r = 0; r < g.kernel.height; ++r) {
      for (std::int64_t s = 0; s < g.kernel.width; ++s) {
        // The output pixel whose tap (r, s) lies on (h, w), if there is one.
        const std::int64_t up = h + g.padding.height - r * g.dilation.height;
        const std::int64_t left = w + g.padding.width - s * g.dilation.width;
        const std::int64_t p = up / g.stride.height, q = left / g.stride.width;
        if (up < 0 || up % g.stride.height != 0 || p >= g.out_height) continue;
        if (left < 0 || left % g.stride.width != 0 || q >= g.out_width) continue;
        for (std::int64_t o = group * outputs; o < (group + 1) * outputs; ++o) {
          const T dy = doutput[((n * g.out_height + p) * g.out_width + q) * g.O + o];
          const std::int64_t tap = (o * g.kernel.height + r) * g.kernel.width + s;
          sum +=
              static_cast<double>(dy) * static_cast<double>(weight[tap * channels + c % channels]);
        }
      }
    }
    dinput[i] = static_cast<T>(sum);
  }
}

// dweight [O, kH, kW, C / groups]: the sum over all output pixels.
template <class T>
__global__ void backward_weight_kernel(const T* input, const T* doutput, Compute<T>* dweight,
                                       Conv2dGeometry g) {
  const std::int64_t channels = g.C / g.groups;
  for (auto i = first_index<std::int64_t>(); i < g.O * g.kernel.height * g.kernel.width * channels;
       i += index_stride<std::int64_t>()) {
    const std::int64_t c = i % channels, s = i / channels % g.kernel.width;
    const std::int64_t r = i / channels / g.kernel.width % g.kernel.height;
    const std::int64_t o = i / channels / g.kernel.width / g.kernel.height;
    const std::int64_t channel = o / (g.O / g.groups) * channels + c;
    double sum = 0;
    for (std::int64_t n = 0; n < g.N; ++n) {
      for (std::int64_t p = 0; p < g.out_height; ++p) {
        for (std::int64_t q = 0; q < g.out_width; ++q) {
          const std::int64_t h = p * g.stride.height - g.padding.height + r * g.dilation.height;
          const std::int64_t w = q * g.stride.width - g.padding.width + s * g.dilation.width;
          if (h < 0 || h >= g.H || w < 0 || w >= g.W) continue;
          sum += static_cast<double>(input[((n * g.H + h) * g.W + w) * g.C + channel]) *
                 static_cast<double>(doutput[((n * g.out_height + p) * g.out_width + q) * g.O + o]);
        }
      }
    }
    dweight[i] = static_cast<Compute<T>>(sum);
  }
}

}  // namespace

template <class T>
void conv2d(const T* input, const Compute<T>* weight, const Compute<T>* bias, T* output,
            const Conv2dGeometry& g) {
  launch("conv2d reference", conv2d_kernel<T>,
         one_thread_each(g.N * g.out_height * g.out_width * g.O), {}, input, weight, bias, output,
         g);
}

template <class T>
void conv2d_backward_input(const T* doutput, const Compute<T>* weight, T* dinput,
                           const Conv2dGeometry& g) {
  launch("conv2d_backward_input reference", backward_input_kernel<T>,
         one_thread_each(g.N * g.H * g.W * g.C), {}, doutput, weight, dinput, g);
}

template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, Compute<T>* dweight,
                            const Conv2dGeometry& g) {
  const std::int64_t weights = g.O * g.kernel.height * g.kernel.width * (g.C / g.groups);
  launch("conv2d_backward_weight reference", backward_weight_kernel<T>, one_thread_each(weights),
         {}, input, doutput, dweight, g);
}

GRADUS_INSTANTIATE_FLOATS(conv2d)
GRADUS_INSTANTIATE_FLOATS(conv2d_backward_input)
GRADUS_INSTANTIATE_FLOATS(conv2d_backward_weight)

}  // namespace gradus::cuda::reference
