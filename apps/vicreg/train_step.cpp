#include "vicreg/train_step.h"

#include <gradus/autograd/collectives.h>
#include <gradus/autograd/ops.h>
#include <gradus/nn/coding_rate_loss.h>
#include <gradus/nn/vicreg_loss.h>
#include "vicreg/recipes.h"

namespace gradus::vicreg {
namespace {

std::int64_t term_count(const TrainOptions& o) {
  return static_cast<std::int64_t>(loss_terms(o.loss).size());
}

/// The loss of embeddings z [V B, D] and its terms, in the order of loss_terms.
std::vector<Variable> compute_loss(const TrainOptions& o, const Variable& z, Communicator* shards) {
  switch (o.loss) {
    case LossName::vicreg: {
      const nn::VICRegLoss loss = nn::vicreg_loss(z, o.views.count, o.vicreg, shards);
      return {loss.total, loss.invariance, loss.variance, loss.covariance};
    }
    case LossName::coding_rate: {
      const nn::CodingRateLoss loss = nn::coding_rate_loss(z, o.views.count, o.coding_rate, shards);
      return {loss.total, loss.similarity, loss.coding_rate};
    }
  }
  return {};
}

}  // namespace

TrainStep::TrainStep(const TrainOptions& options, nn::VICRegModel& model,
                     optim::Optimizer& optimizer, Device device, bool replay, OnlineProbe* probe,
                     Communicator* shards)
    : options_(options),
      model_(model),
      optimizer_(optimizer),
      device_(device),
      shards_(shards),
      replay_(replay && device != Device::cpu),
      probe_(probe),
      terms_(zeros({term_count(options)}, {DType::float32, device})),
      full_batch_(device, [this] { compute(images_, labels_); }) {
  nn::share_statistics(model, shards);
}

void TrainStep::run(const Tensor& images, double lr, const Tensor& labels) {
  optimizer_.prepare(lr);
  Tensor view_labels;  // [V B], view by view
  if (probe_) {
    probe_->prepare(lr / peak_learning_rate(options_));
    view_labels =
        concat(std::vector<Tensor>(static_cast<std::size_t>(options_.views.count), labels))
            .to(device_);
  }
  const std::int64_t members = shards_ == nullptr ? 1 : shards_->size();
  if (!replay_ || images.size(0) * members != options_.views.count * options_.batch_size)
    return compute(images, view_labels);
  if (!images_.defined()) images_ = empty(images.shape(), options_of(images));
  images_.copy_from(images);
  if (probe_ && !labels_.defined()) labels_ = empty(view_labels.shape(), options_of(view_labels));
  if (probe_) labels_.copy_from(view_labels);
  full_batch_.run();
  if (!full_batch_.replays()) return;
  // Replays write into the tensor that the step computed when it was captured.
  if (!captured_embeddings_.defined()) captured_embeddings_ = embeddings_;
  embeddings_ = captured_embeddings_;
}

Variable TrainStep::embed(const Tensor& images, std::vector<Variable>* features) {
  const auto forward = [&](const Tensor& x) {
    const Variable input(x.to(options_.compute.activation_dtype()));
    if (!features) return cast(model_(input), DType::float32);
    return model_.named([&] {
      const Variable encoded = model_.encoder(input);
      features->push_back(encoded.detach());
      return cast(model_.projector(encoded), DType::float32);
    });
  };
  if (!options_.separate_views) return forward(images);
  const std::int64_t batch = images.size(0) / options_.views.count;
  std::vector<Variable> views;
  for (std::int64_t view = 0; view < options_.views.count; ++view)
    views.push_back(forward(images.slice(view * batch, (view + 1) * batch)));
  return concat(views);
}

void TrainStep::compute(const Tensor& images, const Tensor& labels) {
  optimizer_.zero_grad();  // first: the memory of the gradients serves the activations
  const std::size_t before = memory_stats(device_).in_use;
  std::vector<Variable> features;
  const Variable z = embed(images, probe_ ? &features : nullptr);  // [V B, D]
  const std::vector<Variable> terms = compute_loss(options_, z, shards_);
  const Variable& loss = terms[0];
  saved_for_backward_ = memory_stats(device_).in_use - before;
  for (std::int64_t i = 0; i < terms_.size(0); ++i)
    terms_.slice(i, i + 1).copy_from(terms[static_cast<std::size_t>(i)].value().reshape({1}));
  if (shards_ == nullptr)
    loss.backward();
  else
    backward_of_mean(loss, *shards_);
  if (options_.clip_norm > 0) optim::clip_grad_norm(model_.parameters(), options_.clip_norm);
  optimizer_.apply(loss.value());
  embeddings_ = z.value();
  if (probe_) probe_->compute(concat(features).value(), labels, loss.value());
}

LossTerms TrainStep::to_terms(const Readback& loss) const {
  const auto values = loss.get().to_vector<float>();
  LossTerms terms{.name = options_.loss};
  for (std::size_t i = 0; i < values.size(); ++i)
    terms.*loss_terms(options_.loss)[i].value = values[i];
  return terms;
}

}  // namespace gradus::vicreg
