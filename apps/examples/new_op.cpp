// An op of one's own, with its gradient, outside of the library.
#include <gradus/gradus.h>

using namespace gradus;

namespace {

/// softplus(x) = log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), where the latter does not
/// overflow; its derivative is sigmoid(x). The forward pass works on tensors; the closure gives the
/// gradient of each input, given that of the output. What it reads of the forward pass it keeps as
/// SavedTensors, which notice when somebody changes them in between.
Variable softplus(const Variable& x) {
  Tensor y = relu(x.value()) + log(exp(-abs(x.value())) + 1);
  return make_variable("softplus", std::move(y), {&x},
                       [saved = SavedTensor(x)](const Tensor& dy) -> std::vector<Tensor> {
                         return {mul(dy, sigmoid(saved.get()))};
                       });
}

/// The op as a layer, for nn::Sequential.
class Softplus : public nn::Module {
 protected:
  Variable forward(const Variable& x) override { return softplus(x); }
};

}  // namespace

int main() {
  Generator rng(0);
  const Tensor x = uniform({4, 3}, -3, 3, rng, {DType::float64});
  const GradcheckResult check =
      gradcheck([](const std::vector<Variable>& inputs) { return softplus(inputs[0]); }, {x});
  fmt::print("gradient check: {} (largest error {:.1e})\n", check ? "passed" : check.message,
             check.largest_error);

  nn::Sequential net;
  net.add<nn::Linear>({.in_features = 3, .out_features = 2}, rng);
  net.add<Softplus>();
  fmt::print("{}\n", net(x.to(DType::float32)));
  return check ? 0 : 1;
}
