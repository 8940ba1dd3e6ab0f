// Optimiser updates in place (tensor/optimizer_updates.h).
#include <cmath>
#include <vector>

#include "tensor/backend/kernels.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

/// sum (x + scale y)^2 in double; y may be null where scale is 0.
template <class T>
double sum_of_squares(const T* x, const T* y, double scale, std::int64_t n) {
  const std::int64_t blocks = divide_up(n, elementwise_grain);
  std::vector<double> partial(static_cast<std::size_t>(blocks), 0.0);
  parallel_blocks(n, elementwise_grain, [&](auto begin, auto end) {
    double sum = 0;
    if (scale != 0) {
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
  double total = 0;
  for (const double sum : partial) total += sum;
  return total;
}

}  // namespace

template <class T>
void sgd_update(std::span<const SgdPointers<T>> tensors, const SgdStep* steps, const SgdRule& rule,
                const T* guard) {
  if (guard && !is_finite(*guard)) return;
  for (const auto& [parameter, gradient, momentum, n] : tensors) {
    const SgdElement<T> update(rule, *steps++);
    parallel_blocks(n, elementwise_grain,
                    [=, p = parameter, g = gradient, m = momentum](auto begin, auto end) {
                      if (m) {
                        for (std::int64_t i = begin; i < end; ++i) update(p[i], g[i], m[i]);
                      } else {
                        for (std::int64_t i = begin; i < end; ++i) update(p[i], g[i]);
                      }
                    });
  }
}

template <class T>
void adam_update(std::span<const AdamPointers<T>> tensors, const AdamStep* steps,
                 const AdamRule& rule, const T* guard) {
  if (guard && !is_finite(*guard)) return;
  for (const AdamPointers<T>& tensor : tensors) {
    const AdamElement<T> update(rule, *steps++);
    parallel_blocks(tensor.n, elementwise_grain, [=](auto begin, auto end) {
      const auto [p, g, m, v, n] = tensor;
      for (std::int64_t i = begin; i < end; ++i) update(p[i], g[i], m[i], v[i]);
    });
  }
}

template <class T>
void lars_trust(std::span<const SgdPointers<T>> tensors, const LarsRule& rule, SgdStep* steps) {
  for (const SgdPointers<T>& tensor : tensors) {
    SgdStep& step = *steps++;
    if (step.adapt == 0) continue;
    const double decay = decay_in_norm(rule, step);
    const double parameters = sum_of_squares<T>(tensor.parameter, nullptr, 0, tensor.n);
    const double gradients = sum_of_squares<T>(tensor.gradient, tensor.parameter, decay, tensor.n);
    set_trust(rule, std::sqrt(parameters), std::sqrt(gradients), step);
  }
}

template <class T>
void euclidean_norm(std::span<const GradientPointers<T>> tensors, double* norm) {
  double squares = 0;
  for (const auto& [x, n] : tensors) squares += sum_of_squares<T>(x, nullptr, 0, n);
  *norm = std::sqrt(squares);
}

template <class T>
void clip_norm(std::span<const GradientPointers<T>> tensors, double max_norm, double* norm) {
  euclidean_norm(tensors, norm);
  const double factor = clip_factor(*norm, max_norm);
  if (factor == 1) return;
  for (const auto& tensor : tensors) {
    parallel_blocks(tensor.n, elementwise_grain,
                    [x = tensor.gradient, scale = static_cast<T>(factor)](auto begin, auto end) {
                      for (std::int64_t i = begin; i < end; ++i) x[i] *= scale;
                    });
  }
}

#define GRADUS_INSTANTIATE(T)                                                                   \
  template void sgd_update(std::span<const SgdPointers<T>>, const SgdStep*, const SgdRule&,     \
                           const T*);                                                           \
  template void adam_update(std::span<const AdamPointers<T>>, const AdamStep*, const AdamRule&, \
                            const T*);                                                          \
  template void lars_trust(std::span<const SgdPointers<T>>, const LarsRule&, SgdStep*);         \
  template void euclidean_norm(std::span<const GradientPointers<T>>, double*);                  \
  template void clip_norm(std::span<const GradientPointers<T>>, double, double*);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)

}  // namespace gradus::cpu
