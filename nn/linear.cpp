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

Variable Linear::forward(const Variable& x) { return linear(x, weight, bias); }

}  // namespace gradus::nn
