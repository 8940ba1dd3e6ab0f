// A trainable variable under its name: what modules hand out and optimisers take.
#pragma once

#include <string>
#include <string_view>

#include <gradus/autograd/variable.h>
#include <gradus/tensor/check.h>

namespace gradus {

/// `name` is the dotted path from the module that was asked ("encoder.conv1.weight"); `variable`
/// points into the module that owns it, which must outlive this.
struct NamedParameter {
  std::string name;
  Variable* variable = nullptr;
};

/// Throws Error, by name, if a parameter is not a leaf or a constant: gradients would not stay in
/// it.
inline void check_leaf(std::string_view where, std::string_view name, const Variable& parameter) {
  check(
      !parameter.node() || parameter.node()->leaf, where,
      "the parameter {} was computed from other variables: compute it in forward, from parameters",
      name);
}

}  // namespace gradus
