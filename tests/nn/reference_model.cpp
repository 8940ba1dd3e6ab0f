// Whole networks against PyTorch and torchvision (tests/reference/generate_model.py): names, loss,
// gradients, running statistics, and ten steps of training.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/nn/state_dict.h>
#include <gradus/nn/vicreg_loss.h>
#include <gradus/nn/vicreg_model.h>
#include <gradus/optim/adam.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/near.h"
#include "tests/support/reference.h"

namespace gradus::test {
namespace {

const TensorFile& reference() {
  static const TensorFile file = read_reference("model.safetensors");
  return file;
}

const Tensor& expected(const std::string& name) {
  const auto found = reference().tensors.find(name);
  REQUIRE_MESSAGE(found != reference().tensors.end(), "the reference file lacks " << name);
  return found->second;
}

struct Variant {
  std::string name;
  nn::VICRegModel::Options model;
  std::int64_t images;  ///< a view
  std::int64_t size;    ///< height and width
  double eps;           ///< of the loss
};

Variant cifar() {
  return {"cifar", {.encoder = {}, .projector_widths = {64, 64, 64}}, 16, 16, 1e-4};
}

/// An unpadded stem with a bias, and a linear layer kept at the encoder's end.
Variant seed() {
  return {"seed",
          {.encoder = {.stem_padding = 0, .stem_bias = true, .fc_features = 512},
           .projector_widths = {1024, 1024, 1024, 1024}},
          4,
          32,
          0};
}

/// torchvision's own stem.
Variant imagenet() {
  return {"imagenet",
          {.encoder = {.stem = nn::Stem::imagenet}, .projector_widths = {64, 32}},
          4,
          64,
          1e-4};
}

/// In PyTorch's layout: scales around 1, small shifts, linear layers as PyTorch starts them,
/// convolutions at 32 times He et al.'s scale. Batch norm makes up for that, but a step of Adam is
/// small against such weights: in float32 a few ReLUs open or close by rounding, and so a few signs
/// in Adam's first steps are random.
Tensor initial_values(const std::string& name, const Shape& shape) {
  if (shape.rank() > 1) {
    const auto fan_in = static_cast<double>(shape.numel() / shape[0]);
    const double bound = std::sqrt((shape.rank() == 4 ? 6144 : 1) / fan_in);
    return named_uniform("model/" + name, shape, -bound, bound);
  }
  if (name.ends_with("weight")) return named_uniform("model/" + name, shape, 0.75, 1.25);
  return named_uniform("model/" + name, shape, -0.1, 0.1);
}

/// The variant's network with the generator's weights, and its images.
struct Setup {
  Setup(const Variant& variant_, DType dtype) : variant(variant_), model(variant.model, generator) {
    nn::StateDict state = nn::state_dict(model);
    for (const NamedParameter& parameter : model.parameters()) {
      Tensor& value = state.at(parameter.name);
      value = initial_values(parameter.name, value.shape());
    }
    model.to(dtype);
    model.to(test_device());
    nn::load_state_dict(model, state);
    const Shape shape{variant.images, variant.size, variant.size, 3};
    const Tensor views =
        concat({named_uniform(fmt::format("images/{}/view0", variant.name), shape, -2, 2),
                named_uniform(fmt::format("images/{}/view1", variant.name), shape, -2, 2)});
    images = Variable(on_device(views.to(dtype)));
  }

  nn::VICRegLoss loss(const Variable& z) const {
    return nn::vicreg_loss(z, 2, {.eps = variant.eps});
  }

  Variant variant;
  Generator generator{0};
  nn::VICRegModel model;
  Variable images;  ///< [2 N, H, W, 3]
};

/// Euclidean norm and 8 elements at equal distances, in PyTorch's layout.
std::vector<double> digest(const Tensor& value) {
  const Tensor host = value.to(Device::cpu);
  const auto elements = doubles_of(value.rank() == 4 ? permute(host, {0, 3, 1, 2}) : host);
  double sum_of_squares = 0;
  for (const double x : elements) sum_of_squares += x * x;
  std::vector<double> result = {std::sqrt(sum_of_squares)};
  for (std::size_t i = 0; i < 8; ++i) result.push_back(elements[i * elements.size() / 8]);
  return result;
}

/// The reference's norm of a tensor.
double norm_of(const std::string& name) { return expected(name).to_vector<double>()[0]; }

/// Largest error of a digest, relative to the norm, its largest element.
double digest_error(const Tensor& actual, const std::string& name) {
  return relative_error(digest(actual), expected(name).to_vector<double>());
}

/// Of a bias in front of a batch norm, or one that shifts all embeddings: no loss changes with it,
/// so that its gradient is nothing but rounding errors. Empty, or the name of the weight beside it.
std::string weight_beside_idle_bias(const std::string& name) {
  const std::string linear = "projector.network.";  // 0, 3, 6 ...: a batch norm and a ReLU between
  const bool idle = name == "encoder.conv1.bias" || name == "encoder.fc.bias" ||
                    (name.starts_with(linear) && name.ends_with(".bias") &&
                     std::stoi(name.substr(linear.size())) % 3 == 0);
  return idle ? name.substr(0, name.size() - 4) + "weight" : "";
}

void check_names(const Variant& variant) {
  CAPTURE(variant.name);
  Generator generator(0);
  nn::VICRegModel model(variant.model, generator);
  const nn::StateDict state = nn::state_dict(model);
  std::string listing;
  for (const nn::NamedTensor& entry : model.state()) {
    listing += fmt::format("{}{} {}", listing.empty() ? "" : "\n", entry.name,
                           state.at(entry.name).shape());
  }
  CHECK(listing == reference().metadata.at(variant.name + ".state"));
  CHECK(std::to_string(model.parameter_count()) ==
        reference().metadata.at(variant.name + ".parameters"));
}

TEST_CASE("names, shapes and their order are PyTorch's" * cpu_only()) {
  check_names(cifar());
  check_names(imagenet());
  check_names(seed());
  CHECK(reference().metadata.at("seed.parameters") == "15111808");
}

struct Tolerances {
  double forward, gradient;
};

/// One forward and backward pass in training mode.
void check_first_step(const Variant& variant, DType dtype, const Tolerances& tolerances) {
  CAPTURE(variant.name);
  const OneOrder one_order;
  Setup setup(variant, dtype);
  const Variable z = setup.model(setup.images);
  const nn::VICRegLoss loss = setup.loss(z);
  loss.total.backward();

  const auto terms = expected(variant.name + "/terms").to_vector<double>();
  const std::vector<Variable> actual_terms = {loss.total, loss.invariance, loss.variance,
                                              loss.covariance};
  for (std::size_t i = 0; i < terms.size(); ++i) {
    CAPTURE(i);
    CHECK(doubles_of(actual_terms[i].value())[0] == near(terms[i], tolerances.forward));
  }
  CHECK(relative_error(z.value(), expected(variant.name + "/embeddings")) < tolerances.forward);
  for (const nn::NamedTensor& buffer : setup.model.buffers()) {
    if (buffer.tensor->dtype() == DType::int64) continue;
    CAPTURE(buffer.name);
    const std::string name = fmt::format("{}/buffer/{}", variant.name, buffer.name);
    CHECK(digest_error(*buffer.tensor, name) < tolerances.forward);
  }
  for (const NamedParameter& parameter : setup.model.parameters()) {
    CAPTURE(parameter.name);
    const std::string names = variant.name + "/gradient/";
    const Tensor& gradient = parameter.variable->grad();
    if (const std::string weight = weight_beside_idle_bias(parameter.name); !weight.empty()) {
      CHECK(digest(gradient)[0] < tolerances.gradient * norm_of(names + weight));
    } else {
      CHECK(digest_error(gradient, names + parameter.name) < tolerances.gradient);
    }
  }
}

TEST_CASE("loss, gradients and running statistics are PyTorch's in float64") {
  for (const Variant& variant : {cifar(), imagenet(), seed()}) {
    check_first_step(variant, DType::float64, {.forward = 1e-11, .gradient = 1e-9});
  }
}

TEST_CASE("loss, gradients and running statistics are PyTorch's in float32") {
  // One ReLU in a million opens or closes by rounding, which moves gradients by its square root.
  check_first_step(cifar(), DType::float32, {.forward = 1e-4, .gradient = 5e-3});
}

/// Losses before and after each of 10 steps of Adam, each against the reference.
void check_training(DType dtype, const std::string& name, double tolerance) {
  const OneOrder one_order;
  Setup setup(cifar(), dtype);
  optim::Adam optimizer(optim::one_group(setup.model.parameters(), 1e-6), {});
  const auto losses = expected("cifar/losses." + name).to(DType::float64).to_vector<double>();
  REQUIRE(losses.size() == 11);
  for (std::size_t step = 0; step < losses.size(); ++step) {
    CAPTURE(step);
    const nn::VICRegLoss loss = setup.loss(setup.model(setup.images));
    CHECK(doubles_of(loss.total.value())[0] == near(losses[step], tolerance));
    if (step + 1 == losses.size()) break;
    optimizer.zero_grad();
    loss.total.backward();
    optimizer.step(2e-4);
  }
  if (dtype != DType::float64) return;
  for (const NamedParameter& parameter : setup.model.parameters()) {
    CAPTURE(parameter.name);
    CHECK(digest_error(parameter.variable->value(), "cifar/parameter/" + parameter.name) < 1e-7);
  }
  setup.model.eval();
  const Variable features =
      setup.model.encoder(slice(setup.images, 0, 0, setup.variant.images).detach());
  CHECK(relative_error(features.value(), expected("cifar/features")) < 1e-7);
}

TEST_CASE("ten steps of Adam give PyTorch's losses in float64") {
  check_training(DType::float64, "float64", 1e-9);
}

TEST_CASE("ten steps of Adam give PyTorch's losses in float32") {
  check_training(DType::float32, "float32", 1e-3);
}

}  // namespace
}  // namespace gradus::test
