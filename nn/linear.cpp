#include <gradus/nn/linear.h>

#include <gradus/autograd/ops.h>
#include <gradus/nn/init.h>

namespace gradus::nn {

Linear::Linear(const Options& options, Generator& generator) : options_(options) {
  const auto [in, out, has_bias] = options;
  check(in > 0 && out > 0, "linear", "in_features and out_features must be positive; got {} and {}",
        in, out);
  weight = Variable(uniform_fan_in({out, in}, in, generator), true);
  if (has_bias) bias = Variable(uniform_fan_in({out}, in, generator), true);
  register_parameter("weight", weight);
  register_parameter("bias", bias);
}

Variable Linear::forward(const Variable& x) {
  const Shape& shape = x.shape();
  check(shape.rank() >= 1 && shape[-1] == options_.in_features, "linear",
        "the input's last axis must hold in_features = {} values; got input {}",
        options_.in_features, shape);
  return linear(x, weight, bias);
}

}  // namespace gradus::nn
