#include "vicreg/train_step.h"

#include <gradus/autograd/ops.h>
#include <gradus/nn/vicreg_loss.h>

namespace gradus::vicreg {

TrainStep::TrainStep(const TrainOptions& options, nn::VICRegModel& model,
                     optim::Optimizer& optimizer, Device device)
    : options_(options),
      model_(model),
      optimizer_(optimizer),
      device_(device),
      terms_(zeros({4}, {DType::float32, device})),
      full_batch_(device, [this] { compute(images_); }) {}

void TrainStep::run(const Tensor& images, double lr) {
  optimizer_.prepare(lr);
  if (device_ == Device::cpu || images.size(0) != 2 * options_.batch_size) return compute(images);
  if (!images_.defined()) images_ = empty(images.shape(), options_of(images));
  images_.copy_from(images);
  const bool replay = full_batch_.replays();
  full_batch_.run();
  if (full_batch_.replays() && !replay) captured_embeddings_ = embeddings_;
  if (replay) embeddings_ = captured_embeddings_;
}

Variable TrainStep::embed(const Tensor& images) {
  const auto forward = [&](const Tensor& x) {
    return options_.bf16 ? cast(model_(Variable(x.to(DType::bfloat16))), DType::float32)
                         : model_(Variable(x));
  };
  if (!options_.separate_views) return forward(images);
  const std::int64_t half = images.size(0) / 2;
  return concat({forward(images.slice(0, half)), forward(images.slice(half, 2 * half))});
}

void TrainStep::compute(const Tensor& images) {
  optimizer_.zero_grad();            // first: the memory of the gradients serves the activations
  const Variable z = embed(images);  // [2 B, D]
  const nn::VICRegLoss loss = nn::vicreg_loss(z, 2, options_.loss);
  const Variable* terms[] = {&loss.total, &loss.invariance, &loss.variance, &loss.covariance};
  for (std::int64_t i = 0; i < 4; ++i)
    terms_.slice(i, i + 1).copy_from(terms[i]->value().reshape({1}));
  loss.total.backward();
  if (options_.clip_norm > 0) optim::clip_grad_norm(model_.parameters(), options_.clip_norm);
  optimizer_.apply(loss.total.value());
  embeddings_ = z.value();
}

StepLoss TrainStep::to_loss(const Readback& loss) {
  const auto terms = loss.get().to_vector<float>();
  return {terms[0], terms[1], terms[2], terms[3]};
}

}  // namespace gradus::vicreg
