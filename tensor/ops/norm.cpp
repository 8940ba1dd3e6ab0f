#include "tensor/ops.h"
#include "tensor/ops/support.h"

namespace gradus {
namespace {

/// x [..., C] seen as [rows, C].
struct Rows {
  std::int64_t rows, C;
};

Rows as_rows(std::string_view op, const Tensor& x) {
  check_floating(op, "x", x);
  check(x.rank() >= 2, op, "x must have at least two axes, channels last; got {}", x.shape());
  const std::int64_t C = x.size(-1);
  return {C == 0 ? 0 : x.numel() / C, C};
}

/// A tensor of one number a channel, of x's kind.
void check_channels(std::string_view op, std::string_view argument, const Tensor& value,
                    const Tensor& x) {
  check_same_kind(op, "x", x, argument, value);
  check_shape(op, argument, value, {x.size(-1)});
}

void check_statistics(std::string_view op, const BatchStatistics& statistics, const Tensor& x) {
  check_channels(op, "mean", statistics.mean, x);
  check_channels(op, "variance", statistics.variance, x);
}

void check_eps(std::string_view op, double eps) {
  check(eps >= 0, op, "eps must not be negative; got {}", eps);
}

}  // namespace

BatchStatistics batch_norm_statistics(const Tensor& x) {
  constexpr std::string_view op = "batch_norm_statistics";
  const auto [rows, C] = as_rows(op, x);
  check(rows >= 1, op, "x must not be empty: it has no mean; got {}", x.shape());
  BatchStatistics result{empty({C}, options_of(x)), empty({C}, options_of(x))};
  dispatch_full_precision(op, x.dtype(), [&, rows = rows, C = C]<class T>() {
    GRADUS_KERNEL(x.device(), batch_norm_statistics(x.data<T>(), result.mean.data<T>(),
                                                    result.variance.data<T>(), rows, C));
  });
  return result;
}

Tensor batch_norm(const Tensor& x, const BatchStatistics& statistics, const Tensor& gamma,
                  const Tensor& beta, double eps) {
  constexpr std::string_view op = "batch_norm";
  const auto [rows, C] = as_rows(op, x);
  check_statistics(op, statistics, x);
  check_channels(op, "gamma", gamma, x);
  check_channels(op, "beta", beta, x);
  check_eps(op, eps);
  Tensor y = empty(x.shape(), options_of(x));
  dispatch_full_precision(op, x.dtype(), [&, rows = rows, C = C]<class T>() {
    GRADUS_KERNEL(x.device(),
                  batch_norm(x.data<T>(), statistics.mean.data<T>(), statistics.variance.data<T>(),
                             gamma.data<T>(), beta.data<T>(), y.data<T>(), eps, rows, C));
  });
  return y;
}

BatchNormGradients batch_norm_backward(const Tensor& dy, const Tensor& x,
                                       const BatchStatistics& statistics, const Tensor& gamma,
                                       double eps, bool training) {
  constexpr std::string_view op = "batch_norm_backward";
  const auto [rows, C] = as_rows(op, x);
  check_same_kind(op, "dy", dy, "x", x);
  check_shape(op, "dy", dy, x.shape());
  check_statistics(op, statistics, x);
  check_channels(op, "gamma", gamma, x);
  check_eps(op, eps);
  BatchNormGradients result{empty(x.shape(), options_of(x)), empty({C}, options_of(x)),
                            empty({C}, options_of(x))};
  dispatch_full_precision(op, x.dtype(), [&, rows = rows, C = C]<class T>() {
    const T* mean = statistics.mean.data<T>();
    const T* variance = statistics.variance.data<T>();
    T* dx = result.dx.data<T>();
    T* dgamma = result.dgamma.data<T>();
    T* dbeta = result.dbeta.data<T>();
    if (training) {
      GRADUS_KERNEL(x.device(),
                    batch_norm_backward(dy.data<T>(), x.data<T>(), mean, variance, gamma.data<T>(),
                                        dx, dgamma, dbeta, eps, rows, C));
    } else {
      GRADUS_KERNEL(x.device(),
                    batch_norm_frozen_backward(dy.data<T>(), x.data<T>(), mean, variance,
                                               gamma.data<T>(), dx, dgamma, dbeta, eps, rows, C));
    }
  });
  return result;
}

}  // namespace gradus
