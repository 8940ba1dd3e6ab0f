// Softmax cross-entropy of each row, fused: the probabilities are never stored. With an exponential
// or two, an element costs some 16 times what one of an elementwise kernel does.
#include <cmath>
#include <utility>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

/// The largest of a row's logits x, and sum_c exp(x_c - largest). Sums are taken in double.
template <class T>
std::pair<Compute<T>, Compute<T>> shifted_sum(const T* x, std::int64_t classes) {
  using C = Compute<T>;
  C largest = x[0];
  double sum = 0;
  for (std::int64_t c = 1; c < classes; ++c) largest = std::max(largest, static_cast<C>(x[c]));
  for (std::int64_t c = 0; c < classes; ++c)
    sum += static_cast<double>(std::exp(static_cast<C>(x[c]) - largest));
  return {largest, static_cast<C>(sum)};
}

/// weight x, and 0 where the weight is: x is infinite where a logit is -infinity.
template <class C>
C weighted(C weight, C x) {
  return weight == C(0) ? C(0) : weight * x;
}

}  // namespace

template <class T>
void softmax_cross_entropy(const T* logits, const std::int64_t* labels, Compute<T>* losses,
                           double smoothing, std::int64_t rows, std::int64_t classes) {
  using C = Compute<T>;
  const C own = static_cast<C>(1 - smoothing);
  const C share = static_cast<C>(smoothing / static_cast<double>(classes));
  parallel_rows(rows, 16 * classes, [=](std::int64_t i) {
    const T* x = logits + i * classes;
    const auto [largest, sum_exp] = shifted_sum(x, classes);
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c)
      sum += static_cast<double>(static_cast<C>(x[c]) - largest);
    const C log_sum = std::log(sum_exp);
    const double all = static_cast<double>(classes) * static_cast<double>(log_sum) - sum;
    losses[i] =
        weighted(own, log_sum - (x[labels[i]] - largest)) + weighted(share, static_cast<C>(all));
  });
}

template <class T>
void softmax_cross_entropy_backward(const Compute<T>* dlosses, const T* logits,
                                    const std::int64_t* labels, T* dlogits, double smoothing,
                                    std::int64_t rows, std::int64_t classes) {
  using C = Compute<T>;
  const C own = static_cast<C>(1 - smoothing);
  const C share = static_cast<C>(smoothing / static_cast<double>(classes));
  parallel_rows(rows, 16 * classes, [=](std::int64_t i) {
    const T* x = logits + i * classes;
    T* dx = dlogits + i * classes;
    const auto [largest, sum_exp] = shifted_sum(x, classes);
    for (std::int64_t c = 0; c < classes; ++c) {
      const C target = share + (c == labels[i] ? own : C(0));
      dx[c] = static_cast<T>(dlosses[i] * (std::exp(x[c] - largest) / sum_exp - target));
    }
  });
}

GRADUS_INSTANTIATE_FLOATS(softmax_cross_entropy)
GRADUS_INSTANTIATE_FLOATS(softmax_cross_entropy_backward)

}  // namespace gradus::cpu
