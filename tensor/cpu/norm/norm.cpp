// Batch norm: x [rows, C].
#include "tensor/backend/kernels.h"
#include "tensor/cpu/norm/norm_sums.h"

namespace gradus::cpu {

template <class T>
void batch_norm_statistics(const T* x, Compute<T>* mean, Compute<T>* variance, std::int64_t rows,
                           std::int64_t C) {
  const Moments<T> moments(x, rows, C);
  for_each_block(moments.blocks(), [&](std::int64_t block) { moments.add(block); });
  moments.finish(mean, variance);
}

template <class T>
void batch_norm(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                const Compute<T>* gamma, const Compute<T>* beta, const T* residual, bool relu, T* y,
                double eps, std::int64_t rows, std::int64_t C) {
  const auto scale = norm_scales(variance, gamma, eps, C);
  const RowBlocks blocks(rows, C);
  for_each_block(blocks, [&](std::int64_t block) {
    const std::int64_t at = blocks.offset(block);
    norm_kernels<T>().apply(x + at, {mean, scale.data(), beta},
                            residual != nullptr ? residual + at : nullptr, relu, y + at,
                            blocks.rows(block), C);
  });
}

template <class T>
void batch_norm_backward(const T* dy, const T* x, const T* y, bool relu, const Compute<T>* mean,
                         const Compute<T>* variance, const Compute<T>* gamma,
                         const Compute<T>* beta, T* dx, T* dresidual, Compute<T>* dgamma,
                         Compute<T>* dbeta, double eps, bool training, std::int64_t rows,
                         std::int64_t C) {
  const NormGradient<T> gradient(
      {dy, x, y, relu, mean, variance, gamma, beta, eps, training, rows, C},
      dresidual != nullptr ? dresidual : dx);
  for_each_block(gradient.blocks(), [&](std::int64_t block) { gradient.add(block); });
  gradient.finish(dx, dgamma, dbeta);
}

template <class T>
void batch_norm_track(T* running_mean, T* running_var, std::int64_t* count, const T* batch_mean,
                      const T* batch_var, double momentum, double unbiased, std::int64_t C) {
  const T keep = static_cast<T>(1 - momentum), mean_share = static_cast<T>(momentum),
          var_share = static_cast<T>(momentum * unbiased);
  for (std::int64_t c = 0; c < C; ++c) {
    running_mean[c] = keep * running_mean[c] + mean_share * batch_mean[c];
    running_var[c] = keep * running_var[c] + var_share * batch_var[c];
  }
  ++*count;
}

#define GRADUS_INSTANTIATE(T)                                                                    \
  template void batch_norm_statistics<T>(const T*, Compute<T>*, Compute<T>*, std::int64_t,       \
                                         std::int64_t);                                          \
  template void batch_norm<T>(const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*, \
                              const Compute<T>*, const T*, bool, T*, double, std::int64_t,       \
                              std::int64_t);                                                     \
  template void batch_norm_backward<T>(const T*, const T*, const T*, bool, const Compute<T>*,    \
                                       const Compute<T>*, const Compute<T>*, const Compute<T>*,  \
                                       T*, T*, Compute<T>*, Compute<T>*, double, bool,           \
                                       std::int64_t, std::int64_t);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
GRADUS_INSTANTIATE(BFloat16)
#undef GRADUS_INSTANTIATE
template void batch_norm_track<float>(float*, float*, std::int64_t*, const float*, const float*,
                                      double, double, std::int64_t);
template void batch_norm_track<double>(double*, double*, std::int64_t*, const double*,
                                       const double*, double, double, std::int64_t);

}  // namespace gradus::cpu
