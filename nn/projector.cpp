#include <gradus/nn/projector.h>

#include <gradus/nn/activation.h>
#include <gradus/nn/fused.h>

namespace gradus::nn {

Projector::Projector(const Options& options, Generator& generator)
    : network(add<Sequential>("network")), options_(options) {
  check(!options.widths.empty(), "projector", "widths must name at least one layer");
  std::int64_t in = options.in_features;
  for (std::size_t i = 0; i < options.widths.size(); ++i) {
    const bool is_last = i + 1 == options.widths.size();
    const std::int64_t out = options.widths[i];
    auto& linear = network.add<Linear>({.in_features = in, .out_features = out}, generator);
    if (is_last) {
      last = &linear;
      break;
    }
    auto& norm = network.add<BatchNorm1d>({.channels = out});
    network.add<ReLU>();
    hidden.push_back({linear, norm});
    in = out;
  }
}

Variable Projector::forward(const Variable& x) {
  return fusion_enabled() ? fused::projector(*this, x) : network(x);
}

}  // namespace gradus::nn
