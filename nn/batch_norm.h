// Batch normalisation layer.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

/// y = (x - mean) / sqrt(var + eps) * weight + bias, for each channel of x [..., channels].
///
/// In training, mean and (biased) var are the batch's, over all axes but the last, and the running
/// statistics move towards them: running = (1 - momentum) running + momentum batch, with the
/// unbiased variance; a batch with one value per channel is an error. In evaluation mean and var
/// are the running ones. Ioffe and Szegedy, "Batch normalization", ICML 2015.
class BatchNorm : public Module {
 public:
  /// channels must be positive.
  struct Options {
    std::int64_t channels = 0;
    double eps = 1e-5;      ///< finite, not negative
    double momentum = 0.1;  ///< weight of the new batch in the running statistics, in [0, 1]
    bool affine = true;     ///< whether weight and bias are learnt, or stay 1 and 0
  };

  explicit BatchNorm(const Options& options);

  const Options& options() const { return options_; }
  /// The part of the options that gradus::batch_norm takes.
  BatchNormOptions op_options() const;
  Variable weight, bias;             ///< [channels]; undefined unless affine
  Tensor running_mean, running_var;  ///< [channels]
  Tensor num_batches_tracked;        ///< int64 scalar: training batches seen

  /// Mean and variance by which x is normalised: in training the batch's, towards which this moves
  /// the running ones; otherwise the running ones. `taken` are the batch's, where they are known.
  BatchStatistics statistics(const Variable& x, const BatchStatistics& taken = {});
  /// weight and bias, or 1 and 0: [channels].
  Variable gamma() const;
  Variable beta() const;
  /// From now on a batch is what all members of the group have together, each an equal part, whose
  /// statistics all normalise by; null: what x is. The group must outlive this.
  void share_statistics(Communicator* communicator) { communicator_ = communicator; }

 protected:
  Variable forward(const Variable& x) override;

 private:
  void track(const BatchStatistics& batch, std::int64_t rows);

  Options options_;
  Communicator* communicator_ = nullptr;
};

/// The layout keeps channels last, so these are one layer: [N, C] and [N, H, W, C].
using BatchNorm1d = BatchNorm;
using BatchNorm2d = BatchNorm;

/// Calls share_statistics for every batch norm in `module`.
void share_statistics(Module& module, Communicator* communicator);

}  // namespace gradus::nn
