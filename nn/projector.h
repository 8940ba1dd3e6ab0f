// The projector ("expander"): from features to the embedding on which the VICReg loss acts.
#pragma once

#include <vector>

#include <gradus/nn/batch_norm.h>
#include <gradus/nn/linear.h>
#include <gradus/nn/sequential.h>

namespace gradus::nn {

/// Linear-BatchNorm-ReLU for all widths but the last, then Linear: [N, in_features] -> [N, last
/// width]. Names: network.0 (Linear), network.1 (BatchNorm), network.2 (ReLU), network.3, ...
class Projector : public Module {
 public:
  /// All sizes must be positive.
  struct Options {
    std::int64_t in_features = 512;
    std::vector<std::int64_t> widths{};  ///< outputs of each linear layer; at least one
  };

  Projector(const Options& options, Generator& generator);

  const Options& options() const { return options_; }
  Sequential& network;
  /// The layers of `network` before each ReLU.
  struct Hidden {
    Linear& linear;
    BatchNorm1d& norm;
  };
  std::vector<Hidden> hidden;
  Linear* last = nullptr;  ///< the linear layer after the last ReLU

 protected:
  Variable forward(const Variable& x) override;

 private:
  Options options_;
};

}  // namespace gradus::nn
