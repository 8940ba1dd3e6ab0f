#include "nn/batch_norm.h"

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

Variable BatchNorm::relu(const Variable& x) {
  return run([&] { return normalise(x, true); });
}

Variable BatchNorm::add_relu(const Variable& x, const Variable& residual) {
  return run([&] { return normalise(x, true, residual); });
}

Variable BatchNorm::normalise(const Variable& x, bool relu, const Variable& residual) {
  const std::int64_t channels = options_.channels;
  check(x.shape().rank() >= 2 && x.size(-1) == channels, "batch_norm",
        "the input must be [..., channels = {}]; got input {}", channels, x.shape());
  const Shape shape{channels};
  const Variable gamma = weight ? weight : Variable(ones(shape, options_of(running_mean)));
  const Variable beta = bias ? bias : Variable(zeros(shape, options_of(running_mean)));
  const gradus::BatchNormOptions op_options{.eps = options_.eps, .relu = relu};
  if (!training()) {
    return batch_norm_eval(x, {running_mean, running_var}, gamma, beta, op_options, residual);
  }
  const std::int64_t rows = x.numel() / channels;
  check(rows > 1, "batch_norm",
        "training needs more than one value per channel; got input {}: use a larger batch, or "
        "eval()",
        x.shape());
  auto [output, statistics] = batch_norm_train(x, gamma, beta, op_options, residual);
  track(statistics, rows);
  return output;
}

void BatchNorm::track(const BatchStatistics& statistics, std::int64_t rows) {
  // A buffer that others hold (a graph of an evaluation, say) is replaced, not changed.
  for (Tensor* buffer : {&running_mean, &running_var, &num_batches_tracked}) {
    if (!buffer->unique()) *buffer = buffer->clone();
  }
  batch_norm_track(running_mean, running_var, num_batches_tracked, statistics, rows,
                   options_.momentum);
}

}  // namespace gradus::nn
