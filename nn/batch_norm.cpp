#include "nn/batch_norm.h"

#include "autograd/ops.h"

namespace gradus::nn {

BatchNorm::BatchNorm(const BatchNormOptions& options) : options_(options) {
  const std::int64_t channels = options.channels;
  check(channels > 0, "batch_norm", "channels must be positive; got {}", channels);
  check(options.eps >= 0, "batch_norm", "eps must not be negative; got {}", options.eps);
  if (options.affine) {
    weight = Variable(ones({channels}), true);
    bias = Variable(zeros({channels}), true);
  }
  running_mean = zeros({channels});
  running_var = ones({channels});
  num_batches_tracked = zeros({}, {DType::int64});
  register_parameter("weight", weight);
  register_parameter("bias", bias);
  register_buffer("running_mean", running_mean);
  register_buffer("running_var", running_var);
  register_buffer("num_batches_tracked", num_batches_tracked);
}

Variable BatchNorm::forward(const Variable& x) {
  const std::int64_t channels = options_.channels;
  check(x.shape().rank() >= 2 && x.size(-1) == channels, "batch_norm",
        "the input must be [..., channels = {}]; got input {}", channels, x.shape());
  const Shape shape{channels};
  const Variable gamma = weight ? weight : Variable(ones(shape, options_of(running_mean)));
  const Variable beta = bias ? bias : Variable(zeros(shape, options_of(running_mean)));
  if (!training()) {
    return batch_norm_eval(x, {running_mean, running_var}, gamma, beta, options_.eps);
  }
  const std::int64_t rows = x.numel() / channels;
  check(rows > 1, "batch_norm",
        "training needs more than one value per channel; got input {}: use a larger batch, or "
        "eval()",
        x.shape());
  auto [output, statistics] = batch_norm_train(x, gamma, beta, options_.eps);
  track(statistics.mean, statistics.variance, rows);
  return output;
}

void BatchNorm::track(const Tensor& batch_mean, const Tensor& batch_variance, std::int64_t rows) {
  const double momentum = options_.momentum;
  const double unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1);
  running_mean = affine(running_mean, 1 - momentum, 0);
  add_scaled(running_mean, batch_mean, momentum);
  running_var = affine(running_var, 1 - momentum, 0);
  add_scaled(running_var, batch_variance, momentum * unbiased);
  ++*num_batches_tracked.data<std::int64_t>();
}

}  // namespace gradus::nn
