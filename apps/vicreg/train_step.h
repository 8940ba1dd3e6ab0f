// One training step of VICReg: forward, loss, backward, update.
#pragma once

#include <cstdint>

#include <gradus/nn/vicreg_model.h>
#include <gradus/optim/optimizer.h>
#include <gradus/tensor/repeated_work.h>
#include "vicreg/options.h"

namespace gradus::vicreg {

/// The loss and its terms (unweighted, summed over both views).
struct StepLoss {
  double total = 0, invariance = 0, variance = 0, covariance = 0;
};

/// Makes updates of a model. On a GPU the host only starts them: a full batch's step is captured
/// once and replayed, nothing in it waits, and the loss is read when it is asked for. Where a loss
/// is not finite, the weights and the optimiser's state stay what they were.
class TrainStep {
 public:
  /// `batch_size` images make a full batch.
  TrainStep(const TrainOptions& options, nn::VICRegModel& model, optim::Optimizer& optimizer,
            Device device);

  /// Starts one update with images [2 B, H, W, C], all first views before all second ones.
  void run(const Tensor& images, double lr);
  /// The loss of the update that was started last, on its way to the host.
  Readback loss() const { return Readback(terms_); }
  static StepLoss to_loss(const Readback& loss);

  /// Embeddings float32 [2 B, D] of the last update's images.
  const Tensor& embeddings() const { return embeddings_; }
  /// The model's embeddings, with a graph.
  Variable embed(const Tensor& images);

  /// Why updates are not replayed; empty if they are, or on the CPU.
  const std::string& capture_failure() const { return full_batch_.failure(); }

 private:
  void compute(const Tensor& images);

  const TrainOptions& options_;
  nn::VICRegModel& model_;
  optim::Optimizer& optimizer_;
  Device device_;
  Tensor images_;  ///< the full batch that the captured step reads
  Tensor terms_;   ///< [4]: total, invariance, variance, covariance
  Tensor embeddings_, captured_embeddings_;
  RepeatedWork full_batch_;
};

}  // namespace gradus::vicreg
