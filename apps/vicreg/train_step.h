// One training step: forward, loss, backward, update.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <gradus/nn/vicreg_model.h>
#include <gradus/optim/optimizer.h>
#include <gradus/tensor/communicator.h>
#include <gradus/tensor/repeated_work.h>
#include "vicreg/loss_terms.h"
#include "vicreg/online_probe.h"
#include "vicreg/options.h"

namespace gradus::vicreg {

/// Makes updates of a model. On a GPU the host only starts them: a full batch's step is captured
/// once and replayed, nothing in it waits, and the loss is read when it is asked for. Where a loss
/// is not finite, the weights and the optimiser's state stay what they were.
class TrainStep {
 public:
  /// `options`, `model`, `optimizer`, `probe` and `shards`, where there are any, must outlive it.
  /// `replay` false starts every step kernel by kernel. With `shards` images are this member's part
  /// of each batch, all members have the same model, and the loss and the update are those of the
  /// whole batch.
  TrainStep(const TrainOptions& options, nn::VICRegModel& model, optim::Optimizer& optimizer,
            Device device, bool replay = true, OnlineProbe* probe = nullptr,
            Communicator* shards = nullptr);

  /// Starts one update with images [V B, H, W, C], V = options.views.count, view by view; where all
  /// members' B together are options.batch_size it is a full batch. `labels`, int64 [B], is read
  /// where there is a probe, which is updated too.
  void run(const Tensor& images, double lr, const Tensor& labels = {});
  /// The loss of the update that was started last, on its way to the host.
  Readback loss() const { return Readback(terms_); }
  /// The numbers of such a loss; waits for them.
  LossTerms to_terms(const Readback& loss) const;

  /// Embeddings float32 [V B, D] of the last update's images.
  const Tensor& embeddings() const { return embeddings_; }
  /// The model's embeddings, with a graph. `features`, if given, receives the encoder's outputs.
  Variable embed(const Tensor& images, std::vector<Variable>* features = nullptr);

  /// Whether full batches are replayed by now.
  bool replays() const { return full_batch_.replays(); }
  /// Why they are not; empty if they are, or on the CPU.
  const std::string& capture_failure() const { return full_batch_.failure(); }
  /// Bytes that forward keeps for backward, in the last step that was not replayed.
  std::size_t saved_for_backward() const { return saved_for_backward_; }

 private:
  /// An update with images [V B, H, W, C] and, for the probe, labels [V B].
  void compute(const Tensor& images, const Tensor& labels);

  const TrainOptions& options_;
  nn::VICRegModel& model_;
  optim::Optimizer& optimizer_;
  Device device_;
  Communicator* shards_;
  bool replay_;
  OnlineProbe* probe_;
  Tensor images_, labels_;  ///< the full batch that the captured step reads
  Tensor terms_;            ///< in the order of loss_terms(options.loss)
  Tensor embeddings_, captured_embeddings_;
  std::size_t saved_for_backward_ = 0;
  RepeatedWork full_batch_;
};

}  // namespace gradus::vicreg
