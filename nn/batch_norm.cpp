#include <gradus/nn/batch_norm.h>

#include <cmath>

#include <gradus/autograd/checkpoint.h>
#include <gradus/tensor/repeated_work.h>

namespace gradus::nn {

BatchNorm::BatchNorm(const Options& options) : options_(options) {
  const std::int64_t channels = options.channels;
  check(channels > 0, "batch_norm", "channels must be positive; got {}", channels);
  check(std::isfinite(options.eps) && options.eps >= 0, "batch_norm",
        "eps must be finite and not negative; got {}", options.eps);
  check(options.momentum >= 0 && options.momentum <= 1, "batch_norm",
        "momentum must be in [0, 1]; got {}", options.momentum);
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
  register_buffer("num_batches_tracked", num_batches_tracked, Presence::optional);
}

Variable BatchNorm::relu(const WithStatistics& x) {
  return run([&] { return normalise(x, true); });
}

Variable BatchNorm::add_relu(const WithStatistics& x, const Variable& residual) {
  return run([&] { return normalise(x, true, residual); });
}

// On a GPU the pass over memory that it takes to compute the activation again costs more than its
// memory is worth.
WithStatistics BatchNorm::relu_conv(const WithStatistics& x, Conv2d& conv) {
  const bool as_one = training() && grad_enabled() && x.value.device() == Device::cpu &&
                      !conv.bias && !ForwardObserver::watching();
  if (!as_one) return conv.with_statistics(relu(x));
  BatchStatistics statistics;
  const Variable y = run([&] {
    const std::int64_t rows = checked_rows(x.value);
    auto [output, x_statistics] = batch_norm_relu_conv2d_train(x, gamma(), beta(), options_.eps,
                                                               conv.weight, conv.op_options());
    track(x_statistics, rows);
    statistics = output.statistics;
    return output.value;
  });
  return {y, statistics};
}

Variable BatchNorm::normalise(const WithStatistics& x, bool relu, const Variable& residual) {
  const std::int64_t rows = checked_rows(x.value);
  const BatchNormOptions op_options{.eps = options_.eps, .relu = relu};
  if (!training()) {
    return batch_norm_eval(x.value, {running_mean, running_var}, gamma(), beta(), op_options,
                           residual);
  }
  auto [output, statistics] = batch_norm_train(x, gamma(), beta(), op_options, residual);
  track(statistics, rows);
  return output;
}

std::int64_t BatchNorm::checked_rows(const Variable& x) const {
  const std::int64_t channels = options_.channels;
  check(x.shape().rank() >= 2 && x.size(-1) == channels, "batch_norm",
        "the input must be [..., channels = {}]; got input {}", channels, x.shape());
  const std::int64_t rows = x.numel() / channels;
  check(!training() || rows > 1, "batch_norm",
        "training needs more than one value per channel; got input {}: use a larger batch, or "
        "eval()",
        x.shape());
  return rows;
}

Variable BatchNorm::gamma() const {
  return weight ? weight : Variable(ones({options_.channels}, options_of(running_mean)));
}

Variable BatchNorm::beta() const {
  return bias ? bias : Variable(zeros({options_.channels}, options_of(running_mean)));
}

void BatchNorm::track(const BatchStatistics& statistics, std::int64_t rows) {
  if (recomputing()) return;  // this batch was counted the first time
  // A buffer that others hold (a graph of an evaluation, say) is replaced, not changed.
  for (Tensor* buffer : {&running_mean, &running_var, &num_batches_tracked}) {
    if (buffer->unique()) continue;
    check(!recording(), "batch_norm",
          "a running statistic is shared with another tensor, and replays of a recorded step would "
          "not update it; clone() it first");
    *buffer = buffer->clone();
  }
  batch_norm_track(running_mean, running_var, num_batches_tracked, statistics, rows,
                   options_.momentum);
}

}  // namespace gradus::nn
