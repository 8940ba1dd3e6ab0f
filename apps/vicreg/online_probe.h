// A linear classifier that is trained beside the encoder and shows how good its features are.
#pragma once

#include <gradus/nn/linear.h>
#include <gradus/nn/state_dict.h>
#include <gradus/optim/sgd.h>

namespace gradus::vicreg {

/// Features -> classes, trained on the features of all views of a batch, from which no gradient
/// goes back, by SGD (learning rate 0.1 on the run's schedule, momentum 0.9, no decay) on the mean
/// cross-entropy. This is how solo-learn measures its published accuracies, but for the update, for
/// which it takes the run's optimiser. Neither the model nor its random numbers notice it.
class OnlineProbe {
 public:
  /// `largest_batch`: feature rows of a step, at most. The initial weights depend on the seed
  /// alone.
  OnlineProbe(std::int64_t features, std::int64_t classes, std::int64_t largest_batch,
              std::uint64_t seed, Device device);

  /// Before each compute() or replay of it: `schedule` is the run's learning rate, of its peak.
  void prepare(double schedule) { optimizer_.prepare(0.1 * schedule); }
  /// One update with features [N, F] and their labels int64 [N], both on the device, which it only
  /// starts; none where `guard` is not finite (optim::Optimizer::step).
  void compute(const Tensor& features, const Tensor& labels, const Tensor& guard);
  /// The classes int64 [largest_batch] that the last update's features were given before it, of
  /// which the first N count.
  const Tensor& predicted() const { return predicted_; }

  /// The share of features [N, F] that are given their labels int64 [N].
  double accuracy(const Tensor& features, const Tensor& labels);

  /// Weights and the optimiser's state, and back; throws Error if they do not fit.
  nn::StateDict state() const;
  void load_state(const nn::StateDict& state);

 private:
  Generator generator_;
  nn::Linear head_;
  optim::Sgd optimizer_;
  Tensor predicted_;
};

/// The share of the labels int64 [B] that `predicted` has for all views of these images: view by
/// view, [V B] and perhaps more.
double share_correct(const Tensor& predicted, const Tensor& labels, std::int64_t views);

}  // namespace gradus::vicreg
