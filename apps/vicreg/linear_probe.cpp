#include "vicreg/linear_probe.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include <gradus/autograd/ops.h>
#include <gradus/data/augment.h>
#include <gradus/data/loader.h>
#include <gradus/data/sampler.h>
#include <gradus/nn/losses.h>
#include <gradus/optim/sgd.h>
#include "vicreg/features.h"
#include "vicreg/recipes.h"

namespace gradus::vicreg {
namespace {

/// Features and labels of one batch.
struct FeatureBatch {
  Tensor features, labels;
};

/// Yields the batches of an epoch: from augmented images through the encoder, or from features
/// computed once.
class FeatureSource {
 public:
  FeatureSource(nn::ResNet& encoder, const data::Dataset& dataset, const Tensor& features,
                const Protocol& protocol, int workers, std::uint64_t seed, DType activations)
      : encoder_(encoder),
        dataset_(dataset),
        features_(features),
        protocol_(protocol),
        seed_(seed),
        activations_(activations) {
    if (!protocol.cached) {
      loader_.emplace(dataset, data::Loader::Options{
                                   .batch_size = protocol.batch_size,
                                   .workers = workers,
                                   .seed = seed,
                                   .device = encoder.device(),
                                   .augment = classifier_augmentation(protocol.minimum_crop)});
    }
  }

  void start_epoch(std::int64_t epoch) {
    if (loader_) return loader_->start_epoch(epoch);
    order_ = data::epoch_order(dataset_.size(), true, seed_, epoch);
    position_ = 0;
  }

  std::optional<FeatureBatch> next() {
    const NoGrad no_grad;
    if (loader_) {
      const auto batch = loader_->next();
      if (!batch) return std::nullopt;
      const Variable features = encoder_(Variable(batch->images.to(activations_)));
      return FeatureBatch{features.value().to(DType::float32), batch->labels};
    }
    if (position_ == dataset_.size()) return std::nullopt;
    const std::int64_t end =
        position_ + std::min(dataset_.size() - position_, protocol_.batch_size);
    const Tensor samples = order_.slice(position_, end);
    position_ = end;
    return FeatureBatch{gather_rows(features_, samples), gather_rows(dataset_.labels, samples)};
  }

 private:
  nn::ResNet& encoder_;
  const data::Dataset& dataset_;
  Tensor features_;  // [N, F] when cached
  const Protocol& protocol_;
  std::uint64_t seed_;
  DType activations_;
  std::optional<data::Loader> loader_;  // otherwise
  Tensor order_;
  std::int64_t position_ = 0;
};

}  // namespace

Protocol named_protocol(ProtocolName name) {
  switch (name) {
    case ProtocolName::standard: break;
    case ProtocolName::vicreg:
      return {
          .name = name, .epochs = 100, .momentum = 0.9, .small_init = true, .minimum_crop = 0.08f};
    case ProtocolName::solo_learn:
      return {.name = name,
              .epochs = 100,
              .batch_size = 128,
              .lr = 0.1,
              .momentum = 0.9,
              .weight_decay = 0,
              .schedule = ScheduleName::step,
              .milestones = {60, 80},
              .minimum_crop = 0.08f};
    case ProtocolName::emp_ssl:
      return {.name = name,
              .epochs = 100,
              .batch_size = 100,
              .lr = 0.03,
              .momentum = 0.9,
              .weight_decay = 5e-5,
              .cached = true};
  }
  return {};
}

nlohmann::json to_json(const Protocol& p) {
  return {{"name", apps::name_of(protocol_names, p.name)},
          {"epochs", p.epochs},
          {"batch_size", p.batch_size},
          {"lr", p.lr},
          {"momentum", p.momentum},
          {"weight_decay", p.weight_decay},
          {"schedule", apps::name_of(schedule_names, p.schedule)},
          {"milestones", p.milestones},
          {"initial_weights", p.small_init ? "normal 0.01" : "uniform"},
          {"minimum_crop", p.minimum_crop},
          {"features", p.cached ? "cached" : "of augmented images"}};
}

std::unique_ptr<nn::Linear> train_linear_probe(nn::ResNet& encoder, const data::Dataset& train,
                                               const Tensor& train_features,
                                               const Protocol& protocol, int workers,
                                               std::uint64_t seed, const EpochCallback& on_epoch,
                                               DType activations) {
  check(!protocol.cached || (train_features.defined() && train_features.rank() == 2 &&
                             train_features.size(0) == train.size()),
        "linear_probe", "a cached protocol needs the features of all {} images", train.size());
  Generator generator(seed, 1);
  const auto classes = static_cast<std::int64_t>(train.class_names.size());
  auto head = std::make_unique<nn::Linear>(
      nn::Linear::Options{
          .in_features = protocol.cached ? train_features.size(1) : encoder.feature_count(),
          .out_features = classes},
      generator);
  if (protocol.small_init) {
    head->weight.value().copy_from(normal(head->weight.shape(), 0, 0.01, generator));
    head->bias.value().fill(0);
  }
  optim::Sgd optimizer(optim::one_group(head->parameters(), protocol.weight_decay),
                       {.momentum = protocol.momentum});
  const optim::Schedule schedule = make_schedule({.name = protocol.schedule,
                                                  .lr = protocol.lr,
                                                  .epochs = protocol.epochs,
                                                  .milestones = protocol.milestones},
                                                 1);  // a step is an epoch

  head->to(encoder.device());

  const EvalMode eval_mode(encoder);
  FeatureSource source(encoder, train, train_features, protocol, workers, seed, activations);
  for (std::int64_t epoch = 0; epoch < protocol.epochs; ++epoch) {
    source.start_epoch(epoch);
    // Summed on the device and read once, so that no batch waits for the one before.
    Tensor total = zeros({}, {DType::float64, encoder.device()});
    while (const auto batch = source.next()) {
      const Variable loss = nn::cross_entropy((*head)(Variable(batch->features)), batch->labels);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step(schedule(epoch));
      add_scaled(total, loss.value().to(DType::float64),
                 static_cast<double>(batch->labels.size(0)));
    }
    const double loss = total.item<double>() / static_cast<double>(train.size());
    check(std::isfinite(loss), "linear_probe",
          "the classifier diverged in epoch {}: its loss is {}; a lower --lr may help", epoch + 1,
          loss);
    on_epoch(epoch + 1, loss);
  }
  return head;
}

}  // namespace gradus::vicreg
