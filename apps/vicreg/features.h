// Features of images from a frozen encoder.
#pragma once

#include <gradus/data/augment.h>
#include <gradus/data/dataset.h>
#include <gradus/nn/projector.h>
#include <gradus/nn/resnet.h>
#include "vicreg/options.h"

namespace gradus::vicreg {

/// Features [N, F] float32 of all images under normalisation alone, in evaluation mode and without
/// a graph, on the encoder's device; its mode is restored. The encoder computes in `activations`:
/// bfloat16 is training's mixed precision. Throws Error if a feature is not finite.
Tensor extract_features(nn::ResNet& encoder, const data::Dataset& dataset,
                        DType activations = DType::float32);

/// The features that EMP-SSL's program evaluates, [N, F] float32: what the projector's first hidden
/// layer, of F units, gives for `views.count` views of each image, and of that the mean, a sum in
/// float32. Otherwise as extract_features. `seed` decides the views, which `workers` threads make
/// ahead (0: none).
Tensor extract_view_features(nn::ResNet& encoder, nn::Projector& projector,
                             const data::Dataset& dataset, const ViewOptions& views,
                             std::uint64_t seed, int workers, DType activations = DType::float32);

/// Rows of x [N, F] float32 scaled to length 1, whatever their size; rows of zeros stay zeros.
Tensor unit_rows(const Tensor& x);

/// Evaluation mode for as long as it lives; then the module's mode is what it was.
class EvalMode {
 public:
  explicit EvalMode(nn::Module& module) : module_(module), was_training_(module.training()) {
    module_.eval();
  }
  ~EvalMode() { module_.train(was_training_); }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  nn::Module& module_;
  bool was_training_;
};

}  // namespace gradus::vicreg
