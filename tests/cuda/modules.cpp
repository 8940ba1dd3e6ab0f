// Whole networks on the GPU against the CPU.
#include <doctest/doctest.h>

#include <cmath>

#include <gradus/autograd/ops.h>
#include <gradus/nn/state_dict.h>
#include <gradus/nn/vicreg_loss.h>
#include <gradus/nn/vicreg_model.h>
#include "tests/support/compare.h"
#include "tests/support/near.h"
#include "tests/support/reference.h"

namespace gradus::test {
namespace {

constexpr std::int64_t images = 6;  // a view

/// ResNet-18 of width 8 with a projector, in `dtype` on `device`.
struct Network {
  Network(DType dtype, Device device)
      : model({.encoder = {.width = 8}, .projector_widths = {24, 24, 24}}, generator) {
    model.to(dtype);
    model.to(device);
  }

  nn::VICRegLoss loss(const Variable& views) {
    embeddings =
        cast(model(views), views.dtype() == DType::float64 ? DType::float64 : DType::float32);
    return nn::vicreg_loss(embeddings, 2);
  }

  Generator generator{5};
  nn::VICRegModel model;
  Variable embeddings;
};

/// Two views [2 images, 16, 16, 3].
Variable views(DType dtype, Device device) {
  return Variable(named_uniform("cuda/views", {2 * images, 16, 16, 3}).to(dtype).to(device));
}

/// Whether a parameter's gradient is nothing but rounding errors: a shift of all embeddings, or one
/// in front of a batch norm, changes no loss.
bool gradient_is_zero(const std::string& name) {
  return name == "projector.network.0.bias" || name == "projector.network.3.bias" ||
         name == "projector.network.6.bias";
}

/// One training step's loss, embeddings, gradients and running statistics.
void compare_step(DType dtype, double tolerance) {
  Network cpu(dtype, Device::cpu), gpu(dtype, Device::cuda);
  const Variable on_cpu = cpu.loss(views(dtype, Device::cpu)).total;
  const Variable on_gpu = gpu.loss(views(dtype, Device::cuda)).total;
  CHECK(on_gpu.device() == Device::cuda);
  CHECK(rms_error(on_gpu.value(), on_cpu.value()) < tolerance);
  CHECK(rms_error(gpu.embeddings.value(), cpu.embeddings.value()) < tolerance);
  on_cpu.backward();
  on_gpu.backward();
  const auto expected = cpu.model.parameters(), actual = gpu.model.parameters();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::string& name = expected[i].name;
    CAPTURE(name);
    const Tensor &a = expected[i].variable->grad(), &b = actual[i].variable->grad();
    CHECK(b.device() == Device::cuda);
    if (gradient_is_zero(name)) continue;
    CHECK(rms_error(b, a) < tolerance);
  }
  const auto buffers = cpu.model.buffers(), others = gpu.model.buffers();
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    CAPTURE(buffers[i].name);
    CHECK(rms_error(*others[i].tensor, *buffers[i].tensor) < tolerance);
  }
}

TEST_CASE("a training step in float64") { compare_step(DType::float64, 5e-13); }

TEST_CASE("a training step in float32") {
  // A ReLU opens or closes by rounding now and then, which moves gradients by more than rounding.
  compare_step(DType::float32, 1e-3);
}

/// The gradients of all parameters, one behind the other.
Tensor gradient(Network& network) {
  std::vector<Tensor> gradients;
  for (const NamedParameter& parameter : network.model.parameters()) {
    const Tensor& gradient = parameter.variable->grad();
    CHECK(gradient.dtype() == DType::float32);
    gradients.push_back(gradient.to(Device::cpu).reshape({-1}));
  }
  return concat(std::span<const Tensor>(gradients));
}

TEST_CASE("a training step with bfloat16 activations: parameters stay in float32") {
  Network exact(DType::float32, Device::cpu), cpu(DType::float32, Device::cpu);
  Network gpu(DType::float32, Device::cuda);
  const Variable in_float32 = exact.loss(views(DType::float32, Device::cpu)).total;
  const Variable on_cpu = cpu.loss(views(DType::bfloat16, Device::cpu)).total;
  const Variable on_gpu = gpu.loss(views(DType::bfloat16, Device::cuda)).total;
  CHECK(on_gpu.dtype() == DType::float32);
  CHECK(rms_error(on_gpu.value(), on_cpu.value()) < 0.01);
  CHECK(rms_error(on_gpu.value(), in_float32.value()) < 0.01);
  for (const Variable& loss : {in_float32, on_cpu, on_gpu}) loss.backward();
  // So few images make a hard case: rounding moves many ReLUs and half of the gradient. On the
  // GPU it may not move much more of it than on the CPU, where at some levels of vector
  // instructions only what is stored is rounded, not what enters products.
  const Tensor expected = gradient(exact), rounded = gradient(cpu), actual = gradient(gpu);
  const double usual = rms_error(rounded, expected);
  CAPTURE(usual);
  CHECK(usual > 0.01);
  CHECK(rms_error(actual, expected) < 1.5 * usual);
  // Its length stays: a factor would show.
  const auto length = [](const Tensor& x) { return std::sqrt(sum(square(x)).item<float>()); };
  CHECK(length(actual) == near(length(rounded), 0.1));
}

TEST_CASE("in evaluation the GPU's features are the CPU's") {
  Network cpu(DType::float32, Device::cpu), gpu(DType::float32, Device::cuda);
  cpu.model.eval();
  gpu.model.eval();
  const NoGrad no_grad;
  const Variable expected = cpu.model.encoder(views(DType::float32, Device::cpu));
  const Variable actual = gpu.model.encoder(views(DType::float32, Device::cuda));
  CHECK(rms_error(actual.value(), expected.value()) < 4e-6);
}

TEST_CASE("a module goes to the GPU and back unchanged") {
  Network network(DType::float32, Device::cpu);
  const nn::StateDict before = nn::state_dict(network.model);
  network.model.encoder.freeze();
  network.model.to(Device::cuda);
  for (const nn::NamedTensor& entry : network.model.state()) {
    CAPTURE(entry.name);
    CHECK(entry.tensor->device() == Device::cuda);
  }
  CHECK_FALSE(network.model.encoder.conv1.weight.requires_grad());
  CHECK(network.model.projector.parameters()[0].variable->requires_grad());
  nn::load_state_dict(network.model, before);  // from the CPU into tensors on the GPU
  network.model.to(Device::cpu);
  for (const auto& [name, tensor] : nn::state_dict(network.model)) {
    CAPTURE(name);
    CHECK(tensor.device() == Device::cpu);
    CHECK(same_bits(tensor, before.at(name)));
  }
}

}  // namespace
}  // namespace gradus::test
