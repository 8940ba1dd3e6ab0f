// The network that VICReg trains: an encoder, whose features are the result, and a projector, which
// is thrown away after training.
#pragma once

#include <vector>

#include <gradus/nn/projector.h>
#include <gradus/nn/resnet.h>

namespace gradus::nn {

/// Images [N, H, W, C] -> embeddings [N, last projector width]; `encoder(x)` alone gives the
/// features. Weights are drawn for the encoder, then for the projector.
class VICRegModel : public Module {
 public:
  /// Those of its two parts; the projector's input has the size of the encoder's output.
  struct Options {
    ResNet::Options encoder = {};
    std::vector<std::int64_t> projector_widths{};  ///< at least one
  };

  VICRegModel(const Options& options, Generator& generator)
      : encoder(add<ResNet>("encoder", options.encoder, generator)),
        projector(add<Projector>(
            "projector",
            {.in_features = encoder.feature_count(), .widths = options.projector_widths},
            generator)) {}

  ResNet& encoder;
  Projector& projector;

 protected:
  Variable forward(const Variable& x) override { return projector(encoder(x)); }
};

}  // namespace gradus::nn
