// Fully connected layer.
#pragma once

#include <gradus/nn/module.h>

namespace gradus::nn {

/// y = x weight^T + bias; x [..., in_features], weight [out_features, in_features],
/// bias [out_features] or undefined -> [..., out_features]. Both sizes must be positive. PyTorch's
/// initialisation; draws weight, then bias.
class Linear : public Module {
 public:
  struct Options {
    std::int64_t in_features = 0;
    std::int64_t out_features = 0;
    bool bias = true;
  };

  Linear(const Options& options, Generator& generator);

  const Options& options() const { return options_; }
  Variable weight, bias;

 protected:
  Variable forward(const Variable& x) override;

 private:
  Options options_;
};

}  // namespace gradus::nn
