// Going on from the checkpoint of a program that trains the same model in PyTorch.
#pragma once

#include <cstdint>
#include <filesystem>

#include <gradus/nn/vicreg_model.h>
#include <gradus/optim/optimizer.h>

namespace gradus::vicreg {

/// Loads what torch.save wrote of a dict with
///   epoch                 the number of epochs done
///   model_state_dict      weights and buffers: `encoder.*`, `projector.network.*`
///   optimizer_state_dict  of torch.optim.Adam or AdamW over model.parameters()
/// and returns the epoch. Everything else in the file is passed over; learning rate and weight
/// decay are the run's own. Throws Error if the file does not fit the model or the optimiser, or
/// holds Adam with other betas or eps than adam_update.h's, with amsgrad, or maximising.
std::int64_t load_pytorch_checkpoint(const std::filesystem::path& path, nn::VICRegModel& model,
                                     optim::Optimizer& optimizer);

}  // namespace gradus::vicreg
