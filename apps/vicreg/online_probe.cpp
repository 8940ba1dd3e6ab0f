#include "vicreg/online_probe.h"

#include <gradus/autograd/ops.h>
#include <gradus/nn/losses.h>
#include <gradus/tensor/ops.h>
#include "vicreg/weights.h"

namespace gradus::vicreg {
namespace {

constexpr std::string_view optimizer_prefix = "optimizer.";
constexpr std::uint64_t stream = 2;  // of random numbers: the run's model has another

}  // namespace

OnlineProbe::OnlineProbe(std::int64_t features, std::int64_t classes, std::int64_t largest_batch,
                         std::uint64_t seed, Device device)
    : generator_(seed, stream),
      head_({.in_features = features, .out_features = classes}, generator_),
      optimizer_(head_.parameters(), {.momentum = 0.9}),
      predicted_(zeros({largest_batch}, {DType::int64, device})) {
  head_.to(device);
}

void OnlineProbe::compute(const Tensor& features, const Tensor& labels, const Tensor& guard) {
  optimizer_.zero_grad();
  const Variable logits = head_(Variable(features.to(DType::float32)));
  predicted_.slice(0, labels.size(0)).copy_from(argmax(logits.value(), -1));
  nn::cross_entropy(logits, labels).backward();
  optimizer_.apply(guard);
}

double OnlineProbe::accuracy(const Tensor& features, const Tensor& labels) {
  const NoGrad no_grad;
  return static_cast<double>(nn::count_top_k(head_(Variable(features)).value(), labels)) /
         static_cast<double>(labels.size(0));
}

nn::StateDict OnlineProbe::state() const {
  nn::StateDict state = nn::state_dict(head_);
  add_with_prefix(state, optimizer_prefix, optimizer_.state());
  return state;
}

void OnlineProbe::load_state(const nn::StateDict& state) {
  nn::StateDict weights = state;
  std::erase_if(weights,
                [](const auto& entry) { return entry.first.starts_with(optimizer_prefix); });
  nn::load_state_dict(head_, weights);
  optimizer_.load_state(without_prefix(state, optimizer_prefix));
}

double share_correct(const Tensor& predicted, const Tensor& labels, std::int64_t views) {
  const auto given = predicted.to_vector<std::int64_t>(), right = labels.to_vector<std::int64_t>();
  const std::size_t count = right.size() * static_cast<std::size_t>(views);
  std::size_t correct = 0;
  for (std::size_t i = 0; i < count; ++i) correct += given[i] == right[i % right.size()];
  return static_cast<double>(correct) / static_cast<double>(count);
}

}  // namespace gradus::vicreg
