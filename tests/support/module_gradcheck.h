// Gradient checks of modules: of the output to the input and to every parameter.
#pragma once

#include <vector>

#include <gradus/autograd/gradcheck.h>
#include <gradus/nn/module.h>
#include "tests/support/device.h"

namespace gradus::testing {

/// Converts `module` to float64 on the device of tests, and checks d output / d (x, all
/// parameters).
inline GradcheckResult gradcheck_module(nn::Module& module, const Tensor& x,
                                        GradcheckOptions options = {}) {
  module.to(DType::float64);
  module.to(test::test_device());
  const auto parameters = module.parameters();
  std::vector<Tensor> inputs{test::on_device(x)};
  for (const auto& parameter : parameters) inputs.push_back(parameter.variable->value());
  const auto function = [&](const std::vector<Variable>& variables) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      *parameters[i].variable = variables[i + 1];
    }
    return module(variables[0]);
  };
  options.most_elements = test::pick_size(options.most_elements, std::int64_t{3});
  return gradcheck(function, inputs, options);
}

}  // namespace gradus::testing
