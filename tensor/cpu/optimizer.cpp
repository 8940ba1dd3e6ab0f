// In-place optimiser updates (tensor/optimizer_ops.h).
#include <cmath>
#include <vector>

#include "tensor/cpu/parallel.h"
#include "tensor/kernels.h"

namespace gradus::cpu {

template <class T>
void sum_of_squares(const T* x, const T* y, double scale, std::int64_t n, double* result) {
  const std::int64_t blocks = (n + elementwise_grain - 1) / elementwise_grain;
  std::vector<double> partial(static_cast<std::size_t>(blocks), 0.0);
  parallel_blocks(n, elementwise_grain, [&](auto begin, auto end) {
    double sum = 0;
    if (y) {
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = begin; i < end; ++i) {
        const double value = x[i] + scale * y[i];
        sum += value * value;
      }
    } else {
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = begin; i < end; ++i) sum += static_cast<double>(x[i]) * x[i];
    }
    partial[begin / elementwise_grain] = sum;
  });
  *result = 0;
  for (double sum : partial) *result += sum;
}

template <class T>
void sgd_update(T* parameter, const T* gradient, T* momentum, const SgdUpdate& u, std::int64_t n) {
  const T lr = static_cast<T>(u.lr), mu = static_cast<T>(u.momentum);
  const T decay = static_cast<T>(u.weight_decay), scale = static_cast<T>(u.gradient_scale);
  parallel_blocks(n, elementwise_grain, [=, &u](auto begin, auto end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T d = scale * (gradient[i] + decay * parameter[i]);
      if (momentum) {
        const T m = u.first_step ? d : mu * momentum[i] + d;
        momentum[i] = m;
        parameter[i] -= lr * (u.nesterov ? d + mu * m : m);
      } else {
        parameter[i] -= lr * d;
      }
    }
  });
}

template <class T>
void adam_update(T* parameter, const T* gradient, T* mean, T* square, const AdamUpdate& u,
                 std::int64_t n) {
  const double correction1 = 1 - std::pow(u.beta1, static_cast<double>(u.step));
  const double correction2 = 1 - std::pow(u.beta2, static_cast<double>(u.step));
  const T beta1 = static_cast<T>(u.beta1), beta2 = static_cast<T>(u.beta2);
  const T new1 = static_cast<T>(1 - u.beta1), new2 = static_cast<T>(1 - u.beta2);
  const T step_size = static_cast<T>(u.lr / correction1);
  const T root_scale = static_cast<T>(1 / std::sqrt(correction2));
  const T eps = static_cast<T>(u.eps);
  const T decay = static_cast<T>(u.decoupled ? 0 : u.weight_decay);
  const T shrink = static_cast<T>(u.decoupled ? 1 - u.lr * u.weight_decay : 1);
  parallel_blocks(n, elementwise_grain, [=](auto begin, auto end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T p = shrink * parameter[i];
      const T g = gradient[i] + decay * p;
      const T m = beta1 * mean[i] + new1 * g;
      const T v = beta2 * square[i] + new2 * g * g;
      mean[i] = m;
      square[i] = v;
      parameter[i] = p - step_size * m / (std::sqrt(v) * root_scale + eps);
    }
  });
}

#define GRADUS_INSTANTIATE(T)                                                      \
  template void sum_of_squares(const T*, const T*, double, std::int64_t, double*); \
  template void sgd_update(T*, const T*, T*, const SgdUpdate&, std::int64_t);      \
  template void adam_update(T*, const T*, T*, T*, const AdamUpdate&, std::int64_t);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)

}  // namespace gradus::cpu
