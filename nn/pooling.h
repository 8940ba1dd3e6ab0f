// Pooling layers on [N, H, W, C].
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

/// Largest element of each window of Pool2dOptions; padding never wins.
class MaxPool2d : public Module {
 public:
  using Options = Pool2dOptions;
  explicit MaxPool2d(const Options& options) : options_(options) {}

 protected:
  Variable forward(const Variable& x) override { return max_pool2d(x, options_); }

 private:
  Options options_;
};

/// Mean of each window, in which padding counts as Pool2dOptions says.
class AvgPool2d : public Module {
 public:
  using Options = Pool2dOptions;
  explicit AvgPool2d(const Options& options) : options_(options) {}

 protected:
  Variable forward(const Variable& x) override { return avg_pool2d(x, options_); }

 private:
  Options options_;
};

/// Mean over H and W: [N, H, W, C] -> [N, C].
class GlobalAvgPool2d : public Module {
 protected:
  Variable forward(const Variable& x) override { return global_avg_pool2d(x); }
};

}  // namespace gradus::nn
