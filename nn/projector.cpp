#include <gradus/nn/projector.h>

#include <gradus/nn/activation.h>
#include <gradus/nn/batch_norm.h>
#include <gradus/nn/linear.h>

namespace gradus::nn {

Projector::Projector(const Options& options, Generator& generator)
    : network(add<Sequential>("network")), options_(options) {
  check(!options.widths.empty(), "projector", "widths must name at least one layer");
  std::int64_t in = options.in_features;
  for (std::size_t i = 0; i < options.widths.size(); ++i) {
    const bool last = i + 1 == options.widths.size();
    const std::int64_t out = options.widths[i];
    network.add<Linear>(
        {.in_features = in, .out_features = out, .bias = !last || options.last_bias}, generator);
    if (last) break;
    network.add<BatchNorm1d>({.channels = out});
    network.add<ReLU>();
    in = out;
  }
}

}  // namespace gradus::nn
