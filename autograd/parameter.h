// A trainable variable under its name: what modules hand out and optimisers take.
#pragma once

#include <string>

#include <gradus/autograd/variable.h>

namespace gradus {

/// `name` is the dotted path from the module that was asked ("encoder.conv1.weight"); `variable`
/// points into the module that owns it, which must outlive this.
struct NamedParameter {
  std::string name;
  Variable* variable = nullptr;
};

}  // namespace gradus
