// Batch normalisation layer.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/conv2d.h>
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
  struct Options {
    std::int64_t channels = 0;
    double eps = 1e-5;      ///< finite, not negative
    double momentum = 0.1;  ///< weight of the new batch in the running statistics, in [0, 1]
    bool affine = true;     ///< whether weight and bias are learnt, or stay 1 and 0
  };

  explicit BatchNorm(const Options& options);

  // In training, x's statistics are the batch's, where they are known.

  /// max(y, 0) in one pass over memory; for a ForwardObserver it is this layer's output.
  Variable relu(const WithStatistics& x);
  /// max(y + residual, 0) in one pass over memory, likewise; residual has the shape of x.
  Variable add_relu(const WithStatistics& x, const Variable& residual);

  /// conv.with_statistics(relu(x)). In training on the CPU the two run as one, and the activation
  /// between them, which backward computes again, is not kept; errors then carry this layer's name.
  WithStatistics relu_conv(const WithStatistics& x, Conv2d& conv);

  const Options& options() const { return options_; }
  Variable weight, bias;             ///< [channels]; undefined unless affine
  Tensor running_mean, running_var;  ///< [channels]
  Tensor num_batches_tracked;        ///< int64 scalar: training batches seen

 protected:
  Variable forward(const Variable& x) override { return normalise(x, false); }

 private:
  Variable normalise(const WithStatistics& x, bool relu, const Variable& residual = {});
  /// Values per channel of x, which must be [..., channels], and in training more than one.
  std::int64_t checked_rows(const Variable& x) const;
  Variable gamma() const;
  Variable beta() const;
  void track(const BatchStatistics& statistics, std::int64_t rows);

  Options options_;
};

/// The layout keeps channels last, so these are one layer: [N, C] and [N, H, W, C].
using BatchNorm1d = BatchNorm;
using BatchNorm2d = BatchNorm;

}  // namespace gradus::nn
