#include <gradus/tensor/ops_fused.h>

#include <utility>

#include <gradus/tensor/communicator.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

/// x [..., C] seen as [rows, C].
Rows as_rows(std::string_view op, const Tensor& x) {
  check_floating(op, "x", x);
  check(x.rank() >= 2, op, "x must have at least two axes, channels last; got {}", x.shape());
  return rows_of(x);
}

/// One number a channel, of the type that parameters have beside x.
void check_channels(std::string_view op, std::string_view argument, const Tensor& value,
                    const Tensor& x) {
  check_parameter(op, "x", x, argument, value);
  check_shape(op, argument, value, {x.size(-1)});
}

Rows check_batch_norm(std::string_view op, const Tensor& x, const BatchStatistics& statistics,
                      const Tensor& gamma, const Tensor& beta, double eps) {
  const Rows rows = as_rows(op, x);
  check_channels(op, "mean", statistics.mean, x);
  check_channels(op, "variance", statistics.variance, x);
  check_channels(op, "gamma", gamma, x);
  check_channels(op, "beta", beta, x);
  check_eps(op, eps);
  return rows;
}

/// One number a channel of x, of the type that parameters have beside x.
Tensor empty_channels(const Tensor& x) {
  return empty({x.size(-1)}, {compute_dtype(x.dtype()), x.device()});
}

/// batch_norm, then + residual if that is defined, then ReLU if asked for.
Tensor normalise(const Tensor& x, const BatchStatistics& statistics, const Tensor& gamma,
                 const Tensor& beta, double eps, const Tensor& residual, bool relu) {
  constexpr std::string_view op = "batch_norm";
  const auto [rows, C] = check_batch_norm(op, x, statistics, gamma, beta, eps);
  if (residual.defined()) check_like(op, "residual", residual, "x", x);
  Tensor y = empty(x.shape(), options_of(x));
  dispatch_floating(op, x.dtype(), [&, rows = rows, C = C]<class T>() {
    using A = Compute<T>;
    GRADUS_KERNEL(x.device(),
                  batch_norm(x.data<T>(), statistics.mean.data<A>(), statistics.variance.data<A>(),
                             gamma.data<A>(), beta.data<A>(), data_or_null<T>(residual), relu,
                             y.data<T>(), eps, rows, C));
  });
  return y;
}

/// The sums that the gradient through a batch's statistics reads, and its rows: none where the
/// statistics are constants.
struct BatchSums {
  const Tensor dgamma, dbeta;
  std::int64_t rows;
};

BatchSums sums_over_batch(const Tensor& dgamma, const Tensor& dbeta, std::int64_t rows,
                          const BatchNormOptions& options) {
  if (!options.training) return {dgamma, dbeta, 0};
  if (options.communicator == nullptr) return {dgamma, dbeta, rows};
  const std::int64_t C = dgamma.numel();
  Tensor both = concat({dgamma, dbeta});
  options.communicator->all_reduce(both);
  return {both.slice(0, C), both.slice(C, 2 * C), rows * options.communicator->size()};
}

/// Its gradients; y, dresidual and dy2 as in batch_norm_relu_backward, undefined without ReLU.
BatchNormReluGradients normalise_backward(const Tensor dy, const Tensor dy2, const Tensor& x,
                                          const Tensor& y, const BatchStatistics& statistics,
                                          const Tensor& gamma, const Tensor& beta,
                                          const BatchNormOptions& options, bool relu) {
  constexpr std::string_view op = "batch_norm_backward";
  const auto [rows, C] = check_batch_norm(op, x, statistics, gamma, beta, options.eps);
  check_like(op, "dy", dy, "x", x);
  if (y.defined()) check_like(op, "y", y, "x", x);
  check(y.defined() || !dy2.defined(), op, "a second term of the gradient needs y");
  if (dy2.defined()) check_like(op, "dy2", dy2, "x", x);
  BatchNormReluGradients result{.dx = dy.unique() ? dy : empty(x.shape(), options_of(x)),
                                .dgamma = empty_channels(x),
                                .dbeta = empty_channels(x),
                                .dresidual = {}};
  if (y.defined()) {
    result.dresidual = std::move(result.dx);
    result.dx = dy2.unique() ? dy2 : empty(x.shape(), options_of(x));
  }
  dispatch_floating(op, x.dtype(), [&, rows = rows, C = C]<class T>() {
    using A = Compute<T>;
    const BatchNormBackward<T> norm{.dy = dy.data<T>(),
                                    .dy2 = data_or_null<T>(dy2),
                                    .x = x.data<T>(),
                                    .y = data_or_null<T>(y),
                                    .relu = relu,
                                    .mean = statistics.mean.data<A>(),
                                    .variance = statistics.variance.data<A>(),
                                    .gamma = gamma.data<A>(),
                                    .beta = beta.data<A>(),
                                    .dx = result.dx.data<T>(),
                                    .dresidual = y.defined() ? result.dresidual.data<T>() : nullptr,
                                    .eps = options.eps,
                                    .rows = rows,
                                    .C = C};
    GRADUS_KERNEL(x.device(),
                  batch_norm_backward_sums(norm, result.dgamma.data<A>(), result.dbeta.data<A>()));
    const auto [dgamma, dbeta, batch_rows] =
        sums_over_batch(result.dgamma, result.dbeta, rows, options);
    GRADUS_KERNEL(x.device(),
                  batch_norm_backward_input(norm, dgamma.data<A>(), dbeta.data<A>(), batch_rows));
  });
  return result;
}

}  // namespace

BatchStatistics batch_norm_statistics(const Tensor& x) {
  constexpr std::string_view op = "batch_norm_statistics";
  const auto [rows, C] = as_rows(op, x);
  check(rows >= 1, op, "x must not be empty: it has no mean; got {}", x.shape());
  BatchStatistics result{empty_channels(x), empty_channels(x)};
  dispatch_floating(op, x.dtype(), [&, rows = rows, C = C]<class T>() {
    auto* mean = result.mean.data<Compute<T>>();
    auto* variance = result.variance.data<Compute<T>>();
    GRADUS_KERNEL(x.device(), batch_norm_statistics(x.data<T>(), mean, variance, rows, C));
  });
  return result;
}

BatchStatistics merge_statistics(const BatchStatistics& own, Communicator& communicator) {
  check_like("merge_statistics", "variance", own.variance, "mean", own.mean);
  const std::int64_t C = own.mean.numel();
  const Tensor all = communicator.all_gather(concat({own.mean, own.variance}));  // [size, 2 C]
  BatchStatistics joint{empty({C}, options_of(own.mean)), empty({C}, options_of(own.mean))};
  dispatch_full_precision("merge_statistics", all.dtype(), [&]<class T>() {
    GRADUS_KERNEL(all.device(),
                  batch_norm_merge_statistics(all.data<T>(), joint.mean.data<T>(),
                                              joint.variance.data<T>(), all.size(0), C));
  });
  return joint;
}

Tensor batch_norm(const Tensor& x, const BatchStatistics& statistics, const Tensor& gamma,
                  const Tensor& beta, const BatchNormOptions& options) {
  return normalise(x, statistics, gamma, beta, options.eps, {}, false);
}

BatchNormGradients batch_norm_backward(Tensor dy, const Tensor& x,
                                       const BatchStatistics& statistics, const Tensor& gamma,
                                       const BatchNormOptions& options) {
  const Tensor& beta = gamma;  // no gradient depends on beta without ReLU
  auto [dx, dgamma, dbeta, dresidual] =
      normalise_backward(std::move(dy), {}, x, {}, statistics, gamma, beta, options, false);
  return {dx, dgamma, dbeta};
}

Tensor batch_norm_relu(const Tensor& x, const BatchStatistics& statistics, const Tensor& gamma,
                       const Tensor& beta, const BatchNormOptions& options,
                       const Tensor& residual) {
  return normalise(x, statistics, gamma, beta, options.eps, residual, true);
}

bool recomputation_pays(Device device) { return GRADUS_BACKEND(device, recomputation_pays()); }

BatchNormReluGradients batch_norm_relu_backward(Tensor dy, const Tensor& x, const Tensor& y,
                                                const BatchStatistics& statistics,
                                                const Tensor& gamma, const Tensor& beta,
                                                const BatchNormOptions& options, Tensor dy2) {
  return normalise_backward(std::move(dy), std::move(dy2), x, y, statistics, gamma, beta, options,
                            true);
}

void batch_norm_track(Tensor& running_mean, Tensor& running_var, Tensor& num_batches,
                      const BatchStatistics& batch, std::int64_t rows, double momentum) {
  constexpr std::string_view op = "batch_norm_track";
  check_defined(op, "running_mean", running_mean);
  check(running_mean.rank() == 1, op, "running_mean must have shape [C]; got {}",
        running_mean.shape());
  check_like(op, "running_var", running_var, "running_mean", running_mean);
  check_like(op, "the batch's mean", batch.mean, "running_mean", running_mean);
  check_like(op, "the batch's variance", batch.variance, "running_mean", running_mean);
  check_shape(op, "num_batches", num_batches, {});
  check(num_batches.device() == running_mean.device(), op,
        "num_batches and running_mean must lie on one device; got {} and {}",
        name(num_batches.device()), name(running_mean.device()));
  check(momentum >= 0 && momentum <= 1, op, "momentum must be in [0, 1]; got {}", momentum);
  check(rows >= 2, op, "an unbiased variance needs at least 2 rows; got {}", rows);
  const double unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1);
  dispatch_full_precision(op, running_mean.dtype(), [&]<class T>() {
    GRADUS_KERNEL(
        running_mean.device(),
        batch_norm_track(running_mean.data<T>(), running_var.data<T>(),
                         num_batches.data<std::int64_t>(), batch.mean.data<T>(),
                         batch.variance.data<T>(), momentum, unbiased, running_mean.numel()));
  });
}

}  // namespace gradus
