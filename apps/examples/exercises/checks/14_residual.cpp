#include <gradus/autograd/gradcheck.h>
#include "check.h"

GRADUS_EXERCISE {
  using namespace gradus;
  Generator generator(0);
  Residual block(4, generator);
  const Tensor x = uniform({3, 4}, -1, 1, generator);
  const Variable input(x, true), y = block(input);
  const auto linear = [](const nn::Linear& fc, const Tensor& v) {
    return add(matmul(v, fc.weight.value(), {.transpose_b = true}), fc.bias.value());
  };
  const Tensor expected = add(x, linear(block.fc2, relu(linear(block.fc1, x))));
  expect_near("y", y.value().to_vector<float>(), expected.to_vector<float>(), 1e-5,
              "x + fc2(relu(fc1(x))): the ReLU stands between the layers, not behind the sum");
  sum(y).backward();
  expect(input.grad().defined(), "x has no gradient", "work on Variables, not on their values");
  for (const NamedParameter& parameter : block.parameters())
    expect(parameter.variable->grad().defined(), parameter.name + " has no gradient",
           "call both layers");
}
