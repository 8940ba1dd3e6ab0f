// Checkpoints: everything that a run needs to go on as if it had never stopped.
#pragma once

#include <cstdint>
#include <filesystem>

#include <gradus/nn/vicreg_model.h>
#include <gradus/optim/optimizer.h>
#include "vicreg/online_probe.h"
#include "vicreg/options.h"

namespace gradus::vicreg {

/// Writes weights and buffers (`encoder.*`, `projector.*`, as PyTorch names them), the optimiser's
/// state (`optimizer.*`), random positions (`generator.*`), `probe.*` if there is one, and in the
/// metadata the step, the architecture and the options that decide the outcome. The schedule, the
/// order of the images and the augmentation are functions of these. Atomic: the previous checkpoint
/// stays until the new one is on the disk. Throws Error if that fails, or if a weight is not
/// finite.
void save_checkpoint(const std::filesystem::path& path, nn::VICRegModel& model,
                     const optim::Optimizer& optimizer, std::int64_t step,
                     const TrainOptions& options, const OnlineProbe* probe = nullptr);

/// Restores what save_checkpoint wrote and returns the number of steps done. Throws Error if the
/// file is damaged, of another architecture, or of a run with other options (naming the first).
/// options.images becomes the file's where no images were loaded.
std::int64_t load_checkpoint(const std::filesystem::path& path, nn::VICRegModel& model,
                             optim::Optimizer& optimizer, TrainOptions& options,
                             OnlineProbe* probe = nullptr);

}  // namespace gradus::vicreg
