// The linear classifier on a frozen encoder.
#include "vicreg/linear_probe.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include <gradus/autograd/ops.h>
#include <gradus/autograd/variable.h>
#include <gradus/data/loader.h>
#include <gradus/data/sampler.h>
#include <gradus/nn/losses.h>
#include <gradus/tensor/random.h>
#include "tests/apps/small_model.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "vicreg/features.h"
#include "vicreg/recipes.h"

namespace {

using namespace gradus;
using namespace gradus::test;
using vicreg::extract_features;
using vicreg::named_protocol;
using vicreg::Protocol;
using vicreg::ProtocolName;
using vicreg::ScheduleName;
using vicreg::train_linear_probe;

/// Plain images in one of three colours, with noise: a task for a linear classifier.
data::Dataset colours(std::int64_t count) {
  Generator generator(8);
  data::Dataset dataset{.images = empty({count, 32, 32, 3}, {.dtype = DType::uint8}),
                        .labels = empty({count}, {.dtype = DType::int64}),
                        .class_names = {"red", "green", "blue"}};
  for (std::int64_t i = 0; i < count; ++i) {
    dataset.labels.data<std::int64_t>()[i] = i % 3;
    for (std::int64_t at = 0; at < 32 * 32 * 3; ++at)
      dataset.images.data<std::uint8_t>()[i * 32 * 32 * 3 + at] =
          static_cast<std::uint8_t>(generator.below(40) + (at % 3 == i % 3 ? 200 : 0));
  }
  return dataset;
}

nn::ResNet make_encoder() {
  Generator generator(1);
  return nn::ResNet({.width = 4}, generator);
}

double accuracy(nn::ResNet& encoder, nn::Linear& head, const data::Dataset& dataset) {
  const NoGrad no_grad;
  const Tensor scores = head(Variable(extract_features(encoder, dataset))).value();
  return static_cast<double>(nn::count_top_k(scores, dataset.labels)) /
         static_cast<double>(dataset.size());
}

}  // namespace

TEST_CASE("the protocols") {
  const Protocol standard = named_protocol(ProtocolName::standard);
  CHECK(standard.epochs == 50);
  CHECK(standard.batch_size == 256);
  CHECK(standard.lr == 0.02);
  CHECK(standard.momentum == 0);
  CHECK(standard.weight_decay == 1e-6);
  CHECK(standard.schedule == ScheduleName::cosine);
  CHECK(standard.minimum_crop == 0.2f);

  const Protocol paper = named_protocol(ProtocolName::vicreg);
  CHECK(paper.epochs == 100);
  CHECK(paper.momentum == 0.9);
  CHECK(paper.lr == 0.02);
  CHECK(paper.weight_decay == 1e-6);
  CHECK(paper.small_init);
  CHECK(paper.minimum_crop == 0.08f);

  const Protocol offline = named_protocol(ProtocolName::solo_learn);
  CHECK(offline.epochs == 100);
  CHECK(offline.batch_size == 128);
  CHECK(offline.lr == 0.1);
  CHECK(offline.momentum == 0.9);
  CHECK(offline.weight_decay == 0);
  CHECK(offline.schedule == ScheduleName::step);
  CHECK(offline.milestones == std::vector<std::int64_t>{60, 80});
  CHECK(offline.minimum_crop == 0.08f);

  const Protocol emp_ssl = named_protocol(ProtocolName::emp_ssl);
  CHECK(emp_ssl.epochs == 100);
  CHECK(emp_ssl.batch_size == 100);
  CHECK(emp_ssl.lr == 0.03);
  CHECK(emp_ssl.momentum == 0.9);
  CHECK(emp_ssl.weight_decay == 5e-5);
  CHECK(emp_ssl.schedule == ScheduleName::cosine);
  CHECK(emp_ssl.cached);
}

TEST_CASE("a probe is trained by SGD with momentum and decay, at one learning rate an epoch") {
  constexpr int images = 9, features = 4, classes = 3;
  constexpr std::uint64_t seed = 5;
  const data::Dataset dataset = colours(images);
  nn::ResNet encoder = make_encoder();
  Generator generator(4);
  const Tensor x = normal({images, features}, 0, 1, generator);
  const auto train = [&](std::int64_t epochs, double lr) {
    return train_linear_probe(encoder, dataset, x,
                              {.epochs = epochs,
                               .batch_size = 4,
                               .lr = lr,
                               .momentum = 0.9,
                               .weight_decay = 0.05,
                               .cached = true},
                              0, seed, [](std::int64_t, double) {});
  };
  // The same in plain loops: of each class its weights, and the bias behind them.
  constexpr int width = features + 1;
  const auto initial = train(1, 1e-30);
  double w[classes][width], velocity[classes][width] = {};
  for (int c = 0; c < classes; ++c) {
    for (int f = 0; f < features; ++f)
      w[c][f] = initial->weight.value().data<float>()[c * features + f];
    w[c][features] = initial->bias.value().data<float>()[c];
  }
  constexpr int epochs = 3;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const double lr = 0.3 * 0.5 * (1 + std::cos(std::numbers::pi * epoch / epochs));
    const auto order = data::epoch_order(images, true, seed, epoch).to_vector<std::int64_t>();
    for (int begin = 0; begin < images; begin += 4) {
      const int count = std::min(4, images - begin);
      double gradient[classes][width] = {};
      for (int i = begin; i < begin + count; ++i) {
        const std::int64_t image = order[static_cast<std::size_t>(i)];
        const auto input = [&](int f) {
          return f < features ? double(x.data<float>()[image * features + f]) : 1.0;
        };
        double share[classes], total = 0;
        for (int c = 0; c < classes; ++c) {
          double logit = 0;
          for (int f = 0; f < width; ++f) logit += w[c][f] * input(f);
          total += share[c] = std::exp(logit);
        }
        for (int c = 0; c < classes; ++c)
          for (int f = 0; f < width; ++f)
            gradient[c][f] += (share[c] / total - (c == image % classes)) * input(f) / count;
      }
      for (int c = 0; c < classes; ++c)
        for (int f = 0; f < width; ++f) {
          velocity[c][f] = 0.9 * velocity[c][f] + gradient[c][f] + 0.05 * w[c][f];
          w[c][f] -= lr * velocity[c][f];
        }
    }
  }
  const auto head = train(epochs, 0.3);
  for (int c = 0; c < classes; ++c) {
    for (int f = 0; f < features; ++f)
      CHECK(std::abs(head->weight.value().data<float>()[c * features + f] - w[c][f]) < 1e-5);
    CHECK(std::abs(head->bias.value().data<float>()[c] - w[c][features]) < 1e-5);
  }
}

TEST_CASE("a separable task is learnt, from cached features and from augmented images") {
  const data::Dataset dataset = colours(25);  // the last batch is partial
  for (const bool cached : {true, false}) {
    CAPTURE(cached);
    nn::ResNet encoder = make_encoder();
    const auto before = nn::state_dict(encoder);
    const Protocol protocol{
        .epochs = 60, .batch_size = 8, .lr = 0.5, .momentum = 0.9, .cached = cached};
    const Tensor features = cached ? extract_features(encoder, dataset) : Tensor();
    std::vector<double> losses;
    const auto head = train_linear_probe(encoder, dataset, features, protocol, 1, 5,
                                         [&](std::int64_t epoch, double loss) {
                                           losses.push_back(loss);
                                           CHECK(epoch == static_cast<std::int64_t>(losses.size()));
                                         });
    CHECK(losses.size() == 60);
    CHECK(losses.back() < 0.5 * losses.front());
    CHECK(accuracy(encoder, *head, dataset) > 0.95);
    CHECK(encoder.training());  // the mode is as it was
    CHECK(same_tensors(nn::state_dict(encoder), before));
  }
}

TEST_CASE("a probe depends on its seed alone") {
  const data::Dataset dataset = colours(9);
  nn::ResNet encoder = make_encoder();
  const auto train = [&](bool cached, int workers, std::uint64_t seed, std::int64_t epochs = 2) {
    const Tensor features = cached ? extract_features(encoder, dataset) : Tensor();
    const auto head = train_linear_probe(
        encoder, dataset, features,
        {.epochs = epochs, .batch_size = 4, .small_init = true, .cached = cached}, workers, seed,
        [](std::int64_t, double) {});
    return nn::state_dict(*head);
  };
  for (const bool cached : {true, false}) {
    const auto first = train(cached, 1, 5);
    CHECK(same_tensors(train(cached, 0, 5), first));
    CHECK_FALSE(same_tensors(train(cached, 1, 6), first));
    CHECK_FALSE(same_tensors(train(cached, 1, 5, 1), first));
  }
}

TEST_CASE("the classifier's rate falls at the protocol's milestones") {
  const data::Dataset dataset = colours(9);
  nn::ResNet encoder = make_encoder();
  const Tensor features = extract_features(encoder, dataset);
  const auto train = [&](const std::vector<std::int64_t>& milestones) {
    const auto head = train_linear_probe(encoder, dataset, features,
                                         {.epochs = 2,
                                          .batch_size = 4,
                                          .schedule = ScheduleName::step,
                                          .milestones = milestones,
                                          .cached = true},
                                         0, 5, [](std::int64_t, double) {});
    return nn::state_dict(*head);
  };
  CHECK_FALSE(same_tensors(train({1}), train({})));
}

TEST_CASE("the classifier sees crops of the protocol's areas") {
  const data::Dataset dataset = colours(9);
  nn::ResNet encoder = make_encoder();
  const auto train = [&](float minimum_crop) {
    const auto head = train_linear_probe(
        encoder, dataset, Tensor(), {.epochs = 1, .batch_size = 4, .minimum_crop = minimum_crop}, 0,
        5, [](std::int64_t, double) {});
    return nn::state_dict(*head);
  };
  CHECK_FALSE(same_tensors(train(0.08f), train(0.2f)));
  CHECK_FALSE(same_tensors(train(0.2f), train(1.0f)));
}

TEST_CASE("an epoch's loss is the mean over all images, those of a partial batch included") {
  const data::Dataset dataset = colours(9);
  nn::ResNet encoder = make_encoder();
  for (const bool cached : {true, false}) {
    CAPTURE(cached);
    const Tensor features = cached ? extract_features(encoder, dataset) : Tensor();
    // So small weights and so small a rate that all classes stay equally likely.
    train_linear_probe(
        encoder, dataset, features,
        {.epochs = 1, .batch_size = 4, .lr = 1e-9, .small_init = true, .cached = cached}, 0, 5,
        [](std::int64_t, double loss) { CHECK(loss == near(std::log(3.0), 0.02)); });
  }
}

TEST_CASE("a cached protocol without the features of all images is an error") {
  const data::Dataset dataset = colours(5);
  nn::ResNet encoder = make_encoder();
  const auto train = [&](const Tensor& features) {
    train_linear_probe(encoder, dataset, features, {.cached = true}, 0, 0,
                       [](std::int64_t, double) {});
  };
  CHECK_ERROR(train(Tensor()), "features of all 5 images");
  CHECK_ERROR(train(zeros({4, 32})), "features of all 5 images");
}

TEST_CASE("features of views: the mean over them of the projector's first hidden layer") {
  const data::Dataset dataset = colours(70);
  Generator generator(1);
  nn::VICRegModel model({.encoder = {.width = 4}, .projector_widths = {6, 5, 3}}, generator);
  model.projector.hidden[0].norm.running_mean.fill(0.1);
  const auto features = [&](const vicreg::ViewOptions& views, std::uint64_t seed) {
    return vicreg::extract_view_features(model.encoder, model.projector, dataset, views, seed, 2);
  };
  const auto hidden_of = [&](const Tensor& encoded) {
    const NoGrad no_grad;
    const vicreg::EvalMode eval_mode(model.projector);
    const auto& [linear, norm] = model.projector.hidden[0];
    return relu(norm(linear(Variable(encoded)))).value();
  };
  // Views that are the image have its features.
  const Tensor hidden = hidden_of(extract_features(model.encoder, dataset));
  const Tensor same = features({.count = 3, .augment = vicreg::Augmentation::none}, 0);
  REQUIRE(same.shape() == Shape{70, 6});
  for (std::int64_t i = 0; i < same.numel(); ++i)
    CHECK(std::abs(same.data<float>()[i] - hidden.data<float>()[i]) < 1e-5);
  CHECK(model.encoder.training());
  CHECK(model.projector.training());

  // Crops are drawn from the seed, and a mean over two is that of a mean over each.
  const vicreg::ViewOptions crops{.count = 2, .crop_scale = {0.25, 0.25}, .size = 16};
  const std::vector<float> two = features(crops, 7).to_vector<float>();
  CHECK(features(crops, 7).to_vector<float>() == two);
  CHECK(features(crops, 8).to_vector<float>() != two);
  data::Loader loader(dataset, {.batch_size = 70,
                                .views = 2,
                                .shuffle = false,
                                .seed = 7,
                                .augment = vicreg::augment_options(crops)});
  loader.start_epoch(0);
  Tensor encoded;  // [2 * 70, 32]
  {
    const NoGrad no_grad;
    const vicreg::EvalMode eval_mode(model.encoder);
    encoded = model.encoder(Variable(loader.next()->images)).value();
  }
  const Tensor expected = mean(hidden_of(encoded).reshape({2, 70, 6}), {0});
  CHECK(max_difference(from_vector(two, {70, 6}), expected) < 1e-5);
}

TEST_CASE("features are the encoder's in evaluation mode, image by image") {
  const data::Dataset dataset = colours(130);  // more than one batch
  nn::ResNet encoder = make_encoder();
  encoder.bn1.running_mean.fill(0.1);
  const Tensor features = extract_features(encoder, dataset);
  CHECK(features.shape() == Shape{130, 32});
  CHECK(encoder.training());
  const data::Dataset one{.images = dataset.images.slice(129, 130),
                          .labels = dataset.labels.slice(129, 130),
                          .class_names = dataset.class_names};
  const auto alone = extract_features(encoder, one).to_vector<float>();
  for (std::size_t i = 0; i < alone.size(); ++i)
    CHECK(features.data<float>()[129 * 32 + i] == near(alone[i]));
}

TEST_SUITE("device") {
  TEST_CASE("in bfloat16 features, and what is learnt of them, differ from float32's by rounding") {
    const OneOrder quick;
    const data::Dataset dataset = colours(6);
    Generator generator(1);
    nn::VICRegModel model({.encoder = {.width = 4}, .projector_widths = {6, 5, 3}}, generator);
    model.to(test_device());

    const auto check_close = [](const auto& features) {
      const Tensor mixed = features(DType::bfloat16), full = features(DType::float32);
      CHECK(mixed.dtype() == DType::float32);
      const double error = relative_error(mixed, full);
      CHECK(error > 1e-4);  // a rounding to bfloat16 changes a number by up to 4e-3 of it
      CHECK(error < 0.04);
    };
    check_close(
        [&](DType activations) { return extract_features(model.encoder, dataset, activations); });
    check_close([&](DType activations) {
      return vicreg::extract_view_features(model.encoder, model.projector, dataset, {.count = 2}, 7,
                                           0, activations);
    });

    const auto loss_of = [&](DType activations) {
      double last = 0;
      train_linear_probe(
          model.encoder, dataset, Tensor(), {.epochs = 1, .batch_size = 4, .lr = 1e-3}, 0, 5,
          [&](std::int64_t, double loss) { last = loss; }, activations);
      return last;
    };
    const double mixed = loss_of(DType::bfloat16), full = loss_of(DType::float32);
    CHECK(mixed != full);
    CHECK(mixed == near(full, 0.04));
  }
}
