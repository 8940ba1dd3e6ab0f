// Fully connected layer.
#pragma once

#include <gradus/nn/module.h>

namespace gradus::nn {

struct LinearOptions {
  std::int64_t in_features = 0;
  std::int64_t out_features = 0;
  bool bias = true;
};

/// y = x weight^T + bias; x [..., in_features], weight [out_features, in_features],
/// bias [out_features] -> [..., out_features]. PyTorch's initialisation; draws weight, then bias.
class Linear : public Module {
 public:
  Linear(const LinearOptions& options, Generator& generator);

  const LinearOptions& options() const { return options_; }
  Variable weight, bias;

 protected:
  Variable forward(const Variable& x) override;

 private:
  LinearOptions options_;
};

}  // namespace gradus::nn
