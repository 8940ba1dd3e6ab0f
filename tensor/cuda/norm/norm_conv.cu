// Convolutions with the batch norms around them: one after the other, since the GPU's convolutions
// read plain images.
#include "tensor/backend/kernels.h"
#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {

template <class T>
void conv2d_with_statistics(const T* input, const Compute<T>* weight, T* output, Compute<T>* mean,
                            Compute<T>* variance, const Conv2dGeometry& g) {
  conv2d<T>(input, weight, nullptr, output, g);
  batch_norm_statistics<T>(output, mean, variance, g.N * g.out_height * g.out_width, g.O);
}

template <class T>
void batch_norm_relu_conv2d(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                            const Compute<T>* gamma, const Compute<T>* beta, double eps,
                            const Compute<T>* weight, T* output, Compute<T>* output_mean,
                            Compute<T>* output_variance, const Conv2dGeometry& g) {
  const std::int64_t rows = g.N * g.H * g.W;
  const Scratch<T> activation(rows * g.C);
  batch_norm<T>(x, mean, variance, gamma, beta, nullptr, true, activation.data(), eps, rows, g.C);
  conv2d_with_statistics<T>(activation.data(), weight, output, output_mean, output_variance, g);
}

template <class T>
void batch_norm_relu_conv2d_backward_input(const T* doutput, const T* x, const Compute<T>* mean,
                                           const Compute<T>* variance, const Compute<T>* gamma,
                                           const Compute<T>* beta, double eps,
                                           const Compute<T>* weight, T* dx, Compute<T>* dgamma,
                                           Compute<T>* dbeta, const Conv2dGeometry& g) {
  const std::int64_t rows = g.N * g.H * g.W;
  const Scratch<T> dactivation(rows * g.C);
  conv2d_backward_input<T>(doutput, weight, dactivation.data(), g);
  batch_norm_backward<T>(dactivation.data(), x, nullptr, true, mean, variance, gamma, beta, dx,
                         nullptr, dgamma, dbeta, eps, true, rows, g.C);
}

template <class T>
void batch_norm_relu_conv2d_backward_weight(const T* x, const Compute<T>* mean,
                                            const Compute<T>* variance, const Compute<T>* gamma,
                                            const Compute<T>* beta, double eps, const T* doutput,
                                            Compute<T>* dweight, const Conv2dGeometry& g) {
  const std::int64_t rows = g.N * g.H * g.W;
  const Scratch<T> activation(rows * g.C);
  batch_norm<T>(x, mean, variance, gamma, beta, nullptr, true, activation.data(), eps, rows, g.C);
  conv2d_backward_weight<T>(activation.data(), doutput, dweight, g);
}

#define GRADUS_INSTANTIATE(T)                                                               \
  template void conv2d_with_statistics<T>(const T*, const Compute<T>*, T*, Compute<T>*,     \
                                          Compute<T>*, const Conv2dGeometry&);              \
  template void batch_norm_relu_conv2d<T>(                                                  \
      const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*, const Compute<T>*, \
      double, const Compute<T>*, T*, Compute<T>*, Compute<T>*, const Conv2dGeometry&);      \
  template void batch_norm_relu_conv2d_backward_input<T>(                                   \
      const T*, const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*,          \
      const Compute<T>*, double, const Compute<T>*, T*, Compute<T>*, Compute<T>*,           \
      const Conv2dGeometry&);                                                               \
  template void batch_norm_relu_conv2d_backward_weight<T>(                                  \
      const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*, const Compute<T>*, \
      double, const T*, Compute<T>*, const Conv2dGeometry&);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
GRADUS_INSTANTIATE(BFloat16)
#undef GRADUS_INSTANTIATE

}  // namespace gradus::cuda
