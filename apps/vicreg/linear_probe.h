// Linear evaluation: a linear classifier trained on the features of a frozen encoder.
#pragma once

#include <functional>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <gradus/data/dataset.h>
#include <gradus/nn/linear.h>
#include <gradus/nn/resnet.h>
#include "common/choice.h"
#include "vicreg/options.h"

namespace gradus::vicreg {

/// The protocols that named_protocol knows.
enum class ProtocolName : std::uint8_t { standard, vicreg, solo_learn, emp_ssl };
inline constexpr apps::Choices<ProtocolName, 4> protocol_names{
    {{ProtocolName::standard, "default"},
     {ProtocolName::vicreg, "vicreg", "the paper's"},
     {ProtocolName::solo_learn, "solo-learn", "offline"},
     {ProtocolName::emp_ssl, "emp-ssl", "cached"}}};

/// How the classifier is trained: SGD on cross-entropy, one learning rate an epoch.
struct Protocol {
  ProtocolName name = ProtocolName::standard;
  std::int64_t epochs = 50;
  std::int64_t batch_size = 256;
  double lr = 0.02;  ///< at its highest
  double momentum = 0;
  double weight_decay = 1e-6;
  ScheduleName schedule = ScheduleName::cosine;
  std::vector<std::int64_t> milestones{};  ///< epochs
  bool small_init = false;                 ///< normal weights of std 0.01, bias 0: not PyTorch's
  float minimum_crop = 0.2f;               ///< least area of the training crops
  bool cached = false;  ///< features of the plain images, computed once: no crops and flips
};

/// standard: SGD 0.02, cosine, 50 epochs, batch 256, crops of 20 to 100 %.
/// vicreg: the paper's; momentum 0.9, 100 epochs, small initial weights, crops of 8 to 100 %.
/// solo_learn: lr 0.1, momentum 0.9, no decay, batch 128, 100 epochs, x 0.1 at 60 and 80, crops
/// of 8 to 100 %.
/// emp_ssl: lr 0.03, momentum 0.9, decay 5e-5, batch 100, 100 epochs, on cached features.
Protocol named_protocol(ProtocolName name);
/// As linear_eval.json holds it.
nlohmann::json to_json(const Protocol& protocol);

/// Told the epoch (from 1) and its mean training loss.
using EpochCallback = std::function<void(std::int64_t epoch, double loss)>;

/// Trains a classifier [features -> classes] on the frozen encoder. With protocol.cached it is
/// trained on `train_features` [N, F], one row for each image of `train`, which may be of any kind;
/// otherwise these may be undefined, and the encoder computes in `activations` (as
/// extract_features). `seed` decides the initial weights, the order of the images, and the crops.
std::unique_ptr<nn::Linear> train_linear_probe(nn::ResNet& encoder, const data::Dataset& train,
                                               const Tensor& train_features,
                                               const Protocol& protocol, int workers,
                                               std::uint64_t seed, const EpochCallback& on_epoch,
                                               DType activations = DType::float32);

}  // namespace gradus::vicreg
