// Convolutions with the batch norms around them: where Winograd's algorithm is taken, batch norm
// and ReLU happen on the way into its transforms, and the sums over its outputs while they are in a
// cache. The results have the bits of one step after the other.
#include <vector>

#include "tensor/backend/fused_kernels.h"
#include "tensor/cpu/conv/winograd.h"
#include "tensor/cpu/norm/norm_sums.h"

namespace gradus::cpu {
namespace {

/// The batch norm and ReLU before a convolution of x [N, H, W, C].
template <class T>
class NormRelu {
 public:
  using A = Compute<T>;

  NormRelu(const A* mean, const A* variance, const A* gamma, const A* beta, double eps,
           std::int64_t C)
      : scale_(norm_scales(variance, gamma, eps, C)), n_{mean, scale_.data(), beta}, C_(C) {}

  const simd::Normalisation<A>& normalisation() const { return n_; }

  /// relu(batch_norm(x)), for convolutions that read plain images.
  Tensor activation(const T* x, std::int64_t rows) const {
    Tensor y({rows, C_}, dtype_of<T>, Device::cpu);
    T* const to = y.data<T>();
    const RowBlocks blocks(rows, C_);
    for_each_block(blocks, [&](std::int64_t block) {
      const std::int64_t at = blocks.offset(block);
      norm_kernels<T>().apply(x + at, n_, nullptr, true, to + at, blocks.rows(block), C_);
    });
    return y;
  }

 private:
  std::vector<A> scale_;
  simd::Normalisation<A> n_;
  std::int64_t C_;
};

/// All blocks of Moments or NormGradient: `convolve(pass)` returns whether it made the pass over
/// them.
template <class Sums, class Convolve>
void add_blocks(const Sums& sums, const Convolve& convolve) {
  const auto add = [&](std::int64_t block) { sums.add(block); };
  if (!convolve(winograd::BlockPass{sums.blocks().size(), add})) {
    for_each_block(sums.blocks(), add);
  }
}

}  // namespace

template <class T>
void conv2d_with_statistics(const T* input, const Compute<T>* weight, T* output, Compute<T>* mean,
                            Compute<T>* variance, const Conv2dGeometry& g) {
  const Moments<T> moments(output, g.N * g.out_height * g.out_width, g.O);
  add_blocks(moments, [&](const winograd::BlockPass& pass) {
    if constexpr (!std::is_same_v<T, double>) {
      if (const int side = winograd::side_for(g)) {
        return winograd::conv2d<T>(input, nullptr, weight, nullptr, output, g, side, &pass);
      }
    }
    conv2d<T>(input, weight, nullptr, output, g);
    return false;
  });
  moments.finish(mean, variance);
}

template <class T>
void batch_norm_relu_conv2d(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                            const Compute<T>* gamma, const Compute<T>* beta, double eps,
                            const Compute<T>* weight, T* output, Compute<T>* output_mean,
                            Compute<T>* output_variance, const Conv2dGeometry& g) {
  const NormRelu<T> norm(mean, variance, gamma, beta, eps, g.C);
  const Moments<T> moments(output, g.N * g.out_height * g.out_width, g.O);
  add_blocks(moments, [&](const winograd::BlockPass& pass) {
    if constexpr (!std::is_same_v<T, double>) {
      if (const int side = winograd::side_for(g)) {
        return winograd::conv2d<T>(x, &norm.normalisation(), weight, nullptr, output, g, side,
                                   &pass);
      }
    }
    const Tensor y = norm.activation(x, g.N * g.H * g.W);
    conv2d<T>(y.data<T>(), weight, nullptr, output, g);
    return false;
  });
  moments.finish(output_mean, output_variance);
}

template <class T>
void batch_norm_relu_conv2d_backward_input(const T* doutput, const T* x, const Compute<T>* mean,
                                           const Compute<T>* variance, const Compute<T>* gamma,
                                           const Compute<T>* beta, double eps,
                                           const Compute<T>* weight, T* dx, Compute<T>* dgamma,
                                           Compute<T>* dbeta, const Conv2dGeometry& g) {
  // dx is first the gradient of the convolution's input.
  const NormGradient<T> gradient(
      {dx, x, nullptr, true, mean, variance, gamma, beta, eps, true, g.N * g.H * g.W, g.C}, dx);
  add_blocks(gradient, [&](const winograd::BlockPass& pass) {
    if constexpr (!std::is_same_v<T, double>) {
      if (const int side = winograd::side_for(g)) {
        return winograd::conv2d_backward_input<T>(doutput, weight, dx, g, side, &pass);
      }
    }
    conv2d_backward_input<T>(doutput, weight, dx, g);
    return false;
  });
  gradient.finish(dx, dgamma, dbeta);
}

template <class T>
void batch_norm_relu_conv2d_backward_weight(const T* x, const Compute<T>* mean,
                                            const Compute<T>* variance, const Compute<T>* gamma,
                                            const Compute<T>* beta, double eps, const T* doutput,
                                            Compute<T>* dweight, const Conv2dGeometry& g) {
  const NormRelu<T> norm(mean, variance, gamma, beta, eps, g.C);
  if constexpr (!std::is_same_v<T, double>) {
    if (const int side = winograd::side_for(g)) {
      return winograd::conv2d_backward_weight<T>(x, &norm.normalisation(), doutput, dweight, g,
                                                 side);
    }
  }
  const Tensor y = norm.activation(x, g.N * g.H * g.W);
  conv2d_backward_weight<T>(y.data<T>(), doutput, dweight, g);
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

}  // namespace gradus::cpu
