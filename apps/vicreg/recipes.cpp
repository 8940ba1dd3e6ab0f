#include "vicreg/recipes.h"

#include <algorithm>

#include <gradus/optim/adam.h>
#include <gradus/optim/lars.h>
#include <gradus/optim/muon.h>
#include <gradus/optim/sgd.h>

namespace gradus::vicreg {

TrainOptions recipe_defaults(Recipe recipe) {
  TrainOptions o;
  o.recipe = recipe;
  switch (recipe) {
    case Recipe::standard: break;
    case Recipe::solo_learn:
      o.model.encoder.stem_padding = 2;
      o.model.projector_widths = {2048, 2048, 2048};
      o.views.augment = Augmentation::solo_learn;
      o.separate_views = true;
      o.epochs = 1000;
      o.optimizer = OptimizerName::lars;
      o.lr = 0.3;
      o.scale_lr = true;
      o.weight_decay = 1e-4;
      o.decay_all = false;
      o.schedule = ScheduleName::warmup_cosine;
      break;
    case Recipe::emp_ssl:
      o.model.projector_widths = {4096, 4096, 1024};
      o.views = {.count = 20,
                 .augment = Augmentation::emp_ssl,
                 .crop_scale = {0.25, 0.25},
                 .crop_ratio = {1, 1}};
      o.batch_size = 100;
      o.epochs = 30;
      o.loss = LossName::coding_rate;
      o.optimizer = OptimizerName::lars;
      o.lr = 0.3;
      o.weight_decay = 1e-4;
      o.nesterov = true;
      o.trust = 0.005;
      o.decay_all = false;
      o.schedule = ScheduleName::cosine;
      break;
    case Recipe::fast:
      o = recipe_defaults(Recipe::emp_ssl);
      o.recipe = recipe;
      o.model.projector_widths = {2048, 2048, 1024};
      o.views.count = 8;
      o.views.size = 16;
      o.views.crop_scale = {0.25, 1};
      o.optimizer = OptimizerName::muon;
      o.trust = 0.1;
      o.epochs = 11;
      break;
  }
  return o;
}

data::AugmentOptions augment_options(const ViewOptions& views) {
  const auto floats = [](const std::array<double, 2>& range) {
    return std::array{static_cast<float>(range[0]), static_cast<float>(range[1])};
  };
  data::AugmentOptions o{
      .size = views.size,
      .random_crop = true,
      .crop_scale = floats(views.crop_scale),
      .crop_ratio = floats(views.crop_ratio),
      .flip_probability = 0.5f,
      .jitter_probability = 0.8f,
      .jitter = {.brightness = 0.4f, .contrast = 0.4f, .saturation = 0.2f, .hue = 0.1f},
      .grayscale_probability = 0.2f};
  switch (views.augment) {
    case Augmentation::none: return {.size = views.size};
    case Augmentation::vicreg:
      o.blur_probability = 0.5f;
      o.solarize_probability = 0.2f;
      break;
    case Augmentation::solo_learn:
      o.interpolation = data::Interpolation::bicubic;
      o.solarize_probability = 0.1f;
      break;
    case Augmentation::emp_ssl:
      o.jitter = {.brightness = 0.4f, .contrast = 0.4f, .saturation = 0.4f, .hue = 0.2f};
      o.blur_probability = 0.1f;
      o.solarize_probability = 0.1f;
      break;
  }
  return o;
}

data::AugmentOptions classifier_augmentation(float minimum_crop) {
  return {.random_crop = true, .crop_scale = {minimum_crop, 1.0f}, .flip_probability = 0.5f};
}

optim::Schedule make_schedule(const ScheduleOptions& o, std::int64_t steps_per_epoch) {
  optim::CosineOptions cosine{.lr = o.lr, .total_steps = o.epochs * steps_per_epoch};
  switch (o.name) {
    case ScheduleName::constant: return optim::constant(o.lr);
    case ScheduleName::step: {
      std::vector<std::int64_t> milestones;
      for (std::int64_t epoch : o.milestones) milestones.push_back(epoch * steps_per_epoch);
      return optim::step_decay({.lr = o.lr, .milestones = milestones});
    }
    case ScheduleName::cosine: break;
    case ScheduleName::warmup_cosine:
      cosine.warmup_steps = o.warmup_epochs * steps_per_epoch;
      cosine.warmup_start = 3e-5;
      cosine.reach_peak_early = true;
      break;
    case ScheduleName::vicreg:
      cosine.warmup_steps = o.warmup_epochs * steps_per_epoch;
      cosine.final_lr = 0.001 * o.lr;
      break;
  }
  return optim::cosine(cosine);
}

bool depends_on_epochs(ScheduleName schedule) {
  return schedule != ScheduleName::constant && schedule != ScheduleName::step;
}

double peak_learning_rate(const TrainOptions& o) {
  return o.scale_lr ? o.lr * static_cast<double>(o.batch_size) / 256 : o.lr;
}

optim::Schedule make_schedule(const TrainOptions& o, std::int64_t steps_per_epoch) {
  return make_schedule({.name = o.schedule,
                        .lr = peak_learning_rate(o),
                        .epochs = o.epochs,
                        .warmup_epochs = o.warmup_epochs,
                        .milestones = o.milestones},
                       steps_per_epoch);
}

namespace {

/// The groups with linear layers apart. Muon leaves their directions as they are, mostly in a few
/// singular values, so that a third of its step goes as far (measured:
/// apps/bench/results_passes.md).
std::vector<optim::ParameterGroup> muon_groups(std::vector<optim::ParameterGroup> groups) {
  optim::ParameterGroup linear{.lr_scale = 1.0 / 3, .weight_decay = groups.front().weight_decay};
  auto& parameters = groups.front().parameters;
  const auto is_other = [](const NamedParameter& p) { return p.variable->shape().rank() != 2; };
  const auto first = std::ranges::stable_partition(parameters, is_other).begin();
  linear.parameters.assign(first, parameters.end());
  parameters.erase(first, parameters.end());
  groups.push_back(linear);
  return groups;
}

}  // namespace

std::unique_ptr<optim::Optimizer> make_optimizer(const TrainOptions& o,
                                                 const std::vector<NamedParameter>& parameters) {
  auto groups = o.decay_all ? optim::one_group(parameters, o.weight_decay)
                            : optim::exclude_biases_and_norms(parameters, o.weight_decay);
  optim::Lars::Options lars{.momentum = o.momentum, .nesterov = o.nesterov};
  switch (o.optimizer) {
    case OptimizerName::sgd:
      return std::make_unique<optim::Sgd>(
          std::move(groups), optim::Sgd::Options{.momentum = o.momentum, .nesterov = o.nesterov});
    case OptimizerName::adam:
    case OptimizerName::adamw:
      return std::make_unique<optim::Adam>(
          std::move(groups),
          optim::Adam::Options{.decoupled = o.optimizer == OptimizerName::adamw});
    case OptimizerName::lars:
      lars.form = optim::LarsForm::separate_norms;
      lars.trust = 0.02;
      break;
    case OptimizerName::lars_vicreg:
      lars.form = optim::LarsForm::decayed_gradient;
      lars.trust = 0.001;
      break;
    case OptimizerName::muon: {
      optim::Muon::Options muon{.momentum = o.momentum, .nesterov = o.nesterov};
      if (o.trust > 0) muon.trust = o.trust;
      return std::make_unique<optim::Muon>(muon_groups(std::move(groups)), muon);
    }
  }
  if (o.trust > 0) lars.trust = o.trust;
  return std::make_unique<optim::Lars>(std::move(groups), lars);
}

}  // namespace gradus::vicreg
