// Batch norm, ReLU and convolution: one after the other, since the GPU's convolutions read plain
// images.
#include "tensor/cuda/runtime.h"
#include "tensor/kernels.h"

namespace gradus::cuda {

template <class T>
void batch_norm_relu_conv2d(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                            const Compute<T>* gamma, const Compute<T>* beta, double eps,
                            const Compute<T>* weight, T* output, const Conv2dGeometry& g) {
  const std::int64_t rows = g.N * g.H * g.W;
  const Scratch<T> activation(rows * g.C);
  batch_norm<T>(x, mean, variance, gamma, beta, nullptr, true, activation.data(), eps, rows, g.C);
  conv2d<T>(activation.data(), weight, nullptr, output, g);
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
  template void batch_norm_relu_conv2d<T>(const T*, const Compute<T>*, const Compute<T>*,   \
                                          const Compute<T>*, const Compute<T>*, double,     \
                                          const Compute<T>*, T*, const Conv2dGeometry&);    \
  template void batch_norm_relu_conv2d_backward_weight<T>(                                  \
      const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*, const Compute<T>*, \
      double, const T*, Compute<T>*, const Conv2dGeometry&);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
GRADUS_INSTANTIATE(BFloat16)
#undef GRADUS_INSTANTIATE

}  // namespace gradus::cuda
