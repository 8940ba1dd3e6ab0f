// A classifier's weights between PyTorch and here (tests/reference/generate_classifier.py). Between
// convolution and linear layer stands a Flatten, whose order decides what the weights mean.
#include <doctest/doctest.h>

#include <gradus/nn/activation.h>
#include <gradus/nn/batch_norm.h>
#include <gradus/nn/conv2d.h>
#include <gradus/nn/linear.h>
#include <gradus/nn/pooling.h>
#include <gradus/nn/sequential.h>
#include <gradus/nn/shape_layers.h>
#include <gradus/nn/state_dict.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/reference.h"

namespace gradus::test {
namespace {

TEST_CASE("PyTorch's classifier has PyTorch's logits, and goes back as it came") {
  Generator generator(0);
  nn::Sequential net;
  net.add<nn::Conv2d>({.in_channels = 3, .out_channels = 4, .kernel = 3, .padding = 1}, generator);
  net.add<nn::BatchNorm2d>({.channels = 4});
  net.add<nn::ReLU>();
  net.add<nn::MaxPool2d>({.kernel = 2, .stride = 2});
  net.add<nn::Flatten>();
  net.add<nn::Linear>({.in_features = 4 * 3 * 2, .out_features = 5}, generator);
  net.to(DType::float64);
  net.to(test_device());
  net.eval();

  const TensorFile file = read_reference("classifier.safetensors");
  nn::load_state_dict(net, file.tensors, "net");
  const Tensor images = on_device(named_uniform("images/classifier", {3, 6, 4, 3}));
  CHECK(relative_error(net(images).value(), file.tensors.at("logits")) < 1e-12);

  nn::StateDict state = nn::state_dict(net, "net");
  CHECK(state.size() + 1 == file.tensors.size());
  for (const auto& [name, tensor] : state) {
    CAPTURE(name);
    CHECK(same_bits(tensor.to(Device::cpu), file.tensors.at(name)));
  }
}

}  // namespace
}  // namespace gradus::test
