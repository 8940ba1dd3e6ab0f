// What programs and papers choose: augmentations, schedules, optimisers, and whole recipes of them.
#pragma once

#include <memory>

#include <gradus/autograd/parameter.h>
#include <gradus/data/augment.h>
#include <gradus/optim/optimizer.h>
#include <gradus/optim/schedule.h>
#include "vicreg/options.h"

namespace gradus::vicreg {

/// The defaults of a recipe:
///   standard    VICReg with Adam
///   solo_learn  solo-learn's configuration for VICReg on CIFAR-10
///   emp_ssl     EMP-SSL's program (Tong, Chen, Ma and LeCun, 2023) for 30 epochs of CIFAR-10 with
///               20 views, but for pixels normalised with CIFAR-10's statistics in the place of 0.5
///   fast        emp_ssl for CPUs: 11 epochs of 8 crops, from a quarter of the image to all of it,
///               resized to 16x16 pixels (32x32 take four times the arithmetic), a projector half
///               as wide, and Muon in the place of LARS
TrainOptions recipe_defaults(Recipe recipe);

/// Crops as the options say, and
/// vicreg: VICReg's (Bardes et al., ICLR 2022) for CIFAR-10: bilinear; flip 0.5; jitter (0.4, 0.4,
/// 0.2, 0.1) with probability 0.8; grayscale 0.2; blur 0.5; solarize 0.2.
/// solo_learn: bicubic, no blur, solarize 0.1; the rest as above.
/// emp_ssl: jitter (0.4, 0.4, 0.4, 0.2), blur 0.1, solarize 0.1; the rest as with vicreg.
/// none: the image, without a crop.
data::AugmentOptions augment_options(const ViewOptions& views);
/// For training a linear classifier: crops of at least that share of the area, and flips.
data::AugmentOptions classifier_augmentation(float minimum_crop);

/// A learning rate over so many epochs of `steps_per_epoch` steps:
///   constant        lr
///   step            lr, divided by 10 at each milestone
///   cosine          from lr to 0
///   warmup_cosine   solo-learn's: from 3e-5 to lr, which the last step of the warm-up has, to 0
///   vicreg          VICReg's own program's: from 0 to lr to lr / 1000
struct ScheduleOptions {
  ScheduleName name = ScheduleName::constant;
  double lr = 0;
  std::int64_t epochs = 1;
  std::int64_t warmup_epochs = 0;
  std::vector<std::int64_t> milestones{};  ///< epochs
};
optim::Schedule make_schedule(const ScheduleOptions& options, std::int64_t steps_per_epoch);
optim::Schedule make_schedule(const TrainOptions& options, std::int64_t steps_per_epoch);
/// Whether the schedule's rates depend on how many epochs there are, so that a run cannot have
/// more.
bool depends_on_epochs(ScheduleName schedule);
/// The learning rate at its highest.
double peak_learning_rate(const TrainOptions& options);

std::unique_ptr<optim::Optimizer> make_optimizer(const TrainOptions& options,
                                                 const std::vector<NamedParameter>& parameters);

}  // namespace gradus::vicreg
