#include <gradus/nn/batch_norm.h>

#include <cmath>

#include <gradus/autograd/checkpoint.h>
#include <gradus/tensor/communicator.h>
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

Variable BatchNorm::forward(const Variable& x) {
  return batch_norm(x, statistics(x), gamma(), beta(), op_options());
}

BatchStatistics BatchNorm::statistics(const Variable& x, const BatchStatistics& taken) {
  const std::int64_t channels = options_.channels;
  check(x.shape().rank() >= 2 && x.size(-1) == channels, "batch_norm",
        "the input must be [..., channels = {}]; got input {}", channels, x.shape());
  if (!training()) return {running_mean, running_var};
  const int parts = communicator_ == nullptr ? 1 : communicator_->size();
  const std::int64_t rows = x.numel() / channels * parts;
  check(rows > 1, "batch_norm",
        "training needs more than one value per channel; got input {}: use a larger batch, or "
        "eval()",
        x.shape());
  const BatchStatistics own = taken.mean.defined() ? taken : batch_norm_statistics(x.value());
  const BatchStatistics batch = parts == 1 ? own : merge_statistics(own, *communicator_);
  track(batch, rows);
  return batch;
}

BatchNormOptions BatchNorm::op_options() const {
  return {.eps = options_.eps, .training = training(), .communicator = communicator_};
}

Variable BatchNorm::gamma() const {
  return weight.defined() ? weight : Variable(ones({options_.channels}, options_of(running_mean)));
}

Variable BatchNorm::beta() const {
  return bias.defined() ? bias : Variable(zeros({options_.channels}, options_of(running_mean)));
}

void BatchNorm::track(const BatchStatistics& batch, std::int64_t rows) {
  if (recomputing()) return;  // this batch was counted the first time
  // A buffer that others hold (a graph of an evaluation, say) is replaced, not changed.
  for (Tensor* buffer : {&running_mean, &running_var, &num_batches_tracked}) {
    if (buffer->unique()) continue;
    check(!recording(), "batch_norm",
          "a running statistic is shared with another tensor, and replays of a recorded step would "
          "not update it; clone() it first");
    *buffer = buffer->clone();
  }
  batch_norm_track(running_mean, running_var, num_batches_tracked, batch, rows, options_.momentum);
}

void share_statistics(Module& module, Communicator* communicator) {
  module.visit([communicator](const std::string&, Module& part) {
    if (auto* const norm = dynamic_cast<BatchNorm*>(&part)) norm->share_statistics(communicator);
  });
}

}  // namespace gradus::nn
