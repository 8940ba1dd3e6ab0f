#include <gradus/autograd/ops.h>
#include "check.h"

GRADUS_EXERCISE {
  using namespace gradus;
  Generator generator(0);
  Residual block(4, generator);
  const Tensor x = uniform({3, 4}, -1, 1, generator);
  const Variable input(x, true), y = block(input);
  const auto layer = [](const nn::Linear& fc, const Variable& v) {
    return linear(v, fc.weight, fc.bias);
  };
  const Variable other(x, true);
  const Variable expected = other + layer(block.fc2, relu(layer(block.fc1, other)));
  expect_near("y", y.value().to_vector<float>(), expected.value().to_vector<float>(), 1e-5,
              "x + fc2(relu(fc1(x))): the ReLU stands between the layers, not behind the sum");
  sum(y).backward();
  expect(input.grad().defined(), "x has no gradient", "work on Variables, not on their values");
  for (const NamedParameter& parameter : block.parameters())
    expect(parameter.variable->grad().defined(), parameter.name + " has no gradient",
           "call both layers");
  sum(expected).backward();
  expect_near("dx", input.grad().to_vector<float>(), other.grad().to_vector<float>(), 1e-5,
              "the gradient has two ways back: straight, and through the layers");
}
