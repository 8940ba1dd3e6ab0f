// A model for tests of files: the whole architecture, but few channels.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/state_dict.h>
#include "tests/support/compare.h"
#include "vicreg/recipes.h"

namespace gradus::test {

inline vicreg::TrainOptions small_options() {
  vicreg::TrainOptions options;
  options.model.encoder.width = 2;
  options.model.projector_widths = {4, 3};
  return options;
}

/// A model with its optimiser, as the trainer holds them.
struct SmallRun {
  explicit SmallRun(vicreg::TrainOptions given = small_options(), std::uint64_t seed = 0)
      : options(std::move(given)),
        generator(seed),
        model(options.model, generator),
        optimizer(vicreg::make_optimizer(options, model.parameters())) {}

  /// An update with gradients that are the weights themselves.
  void step() {
    for (const NamedParameter& parameter : model.parameters())
      parameter.variable->set_grad(parameter.variable->value().clone());
    optimizer->step(0.01);
  }

  vicreg::TrainOptions options;
  Generator generator;
  nn::VICRegModel model;
  std::unique_ptr<optim::Optimizer> optimizer;
};

/// Same names, and the same bits under each.
inline bool same_tensors(const std::map<std::string, Tensor>& a,
                         const std::map<std::string, Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, tensor] : a)
    if (!b.contains(name) || !same_bits(tensor, b.at(name))) return false;
  return true;
}

}  // namespace gradus::test
