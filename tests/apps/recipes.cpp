// What the recipes choose.
#include "vicreg/recipes.h"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "tests/support/near.h"

namespace {

using namespace gradus;
using namespace gradus::vicreg;
using gradus::test::Near;

Near near(double value) { return gradus::test::near(value, 1e-12); }

/// lr 0.2, 11 epochs of 10 steps, the first of them warm-up.
optim::Schedule schedule(ScheduleName name) {
  return make_schedule(
      {.name = name, .lr = 0.2, .epochs = 11, .warmup_epochs = 1, .milestones = {3, 5}}, 10);
}

}  // namespace

TEST_CASE("recipes: augmentations") {
  const data::AugmentOptions vicreg = augment_options({.augment = Augmentation::vicreg});
  CHECK(vicreg.random_crop);
  CHECK(vicreg.crop_scale == std::array{0.2f, 1.0f});
  CHECK(vicreg.crop_ratio == std::array{3.0f / 4, 4.0f / 3});
  CHECK(vicreg.size == Size2(0));
  CHECK(vicreg.interpolation == data::Interpolation::bilinear);
  CHECK(vicreg.flip_probability == 0.5f);
  CHECK(vicreg.jitter_probability == 0.8f);
  CHECK(vicreg.jitter.brightness == 0.4f);
  CHECK(vicreg.jitter.contrast == 0.4f);
  CHECK(vicreg.jitter.saturation == 0.2f);
  CHECK(vicreg.jitter.hue == 0.1f);
  CHECK(vicreg.grayscale_probability == 0.2f);
  CHECK(vicreg.blur_probability == 0.5f);
  CHECK(vicreg.solarize_probability == 0.2f);

  const data::AugmentOptions solo_learn = augment_options({.augment = Augmentation::solo_learn});
  CHECK(solo_learn.crop_scale == vicreg.crop_scale);
  CHECK(solo_learn.interpolation == data::Interpolation::bicubic);
  CHECK(solo_learn.jitter_probability == 0.8f);
  CHECK(solo_learn.blur_probability == 0.0f);
  CHECK(solo_learn.solarize_probability == 0.1f);

  const data::AugmentOptions emp_ssl = augment_options({.augment = Augmentation::emp_ssl,
                                                        .crop_scale = {0.25, 0.25},
                                                        .crop_ratio = {1, 1},
                                                        .size = 16});
  CHECK(emp_ssl.size == Size2(16));
  CHECK(emp_ssl.crop_scale == std::array{0.25f, 0.25f});
  CHECK(emp_ssl.crop_ratio == std::array{1.0f, 1.0f});
  CHECK(emp_ssl.interpolation == data::Interpolation::bilinear);
  CHECK(emp_ssl.jitter.saturation == 0.4f);
  CHECK(emp_ssl.jitter.hue == 0.2f);
  CHECK(emp_ssl.blur_probability == 0.1f);
  CHECK(emp_ssl.solarize_probability == 0.1f);

  const data::AugmentOptions classifier = classifier_augmentation(0.08f);
  CHECK(classifier.random_crop);
  CHECK(classifier.crop_scale == std::array{0.08f, 1.0f});
  CHECK(classifier.flip_probability == 0.5f);
  CHECK(classifier.jitter_probability == 0.0f);

  const data::AugmentOptions none = augment_options({.augment = Augmentation::none, .size = 24});
  CHECK_FALSE(none.random_crop);
  CHECK(none.size == Size2(24));
  for (const float probability :
       {none.flip_probability, none.jitter_probability, none.grayscale_probability,
        none.blur_probability, none.solarize_probability})
    CHECK(probability == 0.0f);
  for (const data::AugmentOptions& options : {vicreg, solo_learn, emp_ssl, classifier, none}) {
    CHECK_NOTHROW(data::validate(options));
  }
}

TEST_CASE("recipes: schedules") {
  CHECK(schedule(ScheduleName::constant)(73) == 0.2);

  const optim::Schedule step = schedule(ScheduleName::step);
  CHECK(step(29) == 0.2);
  CHECK(step(30) == near(0.02));
  CHECK(step(49) == near(0.02));
  CHECK(step(50) == near(0.002));

  const optim::Schedule cosine = schedule(ScheduleName::cosine);
  CHECK(cosine(0) == 0.2);
  CHECK(cosine(55) == near(0.1));
  CHECK(cosine(110) == 0);

  // solo-learn's: from 3e-5 to lr at the last step of the warm-up, then to 0.
  const optim::Schedule solo_learn = schedule(ScheduleName::warmup_cosine);
  CHECK(solo_learn(0) == near(3e-5));
  CHECK(solo_learn(3) == near(3e-5 + 3 * (0.2 - 3e-5) / 9));
  CHECK(solo_learn(9) == near(0.2));
  CHECK(solo_learn(60) == near(0.1));
  CHECK(solo_learn(110) == 0);

  // VICReg's: B t / W, then B q + 0.001 B (1 - q).
  const optim::Schedule vicreg = schedule(ScheduleName::vicreg);
  CHECK(vicreg(0) == 0);
  CHECK(vicreg(9) == near(0.18));
  CHECK(vicreg(10) == near(0.2));
  const double q = (1 + std::cos(std::numbers::pi * 37 / 100)) / 2;
  CHECK(vicreg(47) == near(0.2 * q + 0.0002 * (1 - q)));
  CHECK(vicreg(110) == near(0.0002));

  TrainOptions options;
  options.lr = 0.3;
  options.batch_size = 512;
  CHECK(make_schedule(options, 10)(5) == 0.3);
  options.scale_lr = true;
  CHECK(make_schedule(options, 10)(5) == 0.6);
}

TEST_CASE("recipes: each optimiser is the one named") {
  Variable weight(full({2, 2}, 2), true), bias(full({2}, 2), true);
  const auto after_step = [&](OptimizerName name, bool decay_all, double trust,
                              bool nesterov = false) {
    TrainOptions options;
    options.optimizer = name;
    options.weight_decay = 0.5;
    options.momentum = 0.25;
    options.decay_all = decay_all;
    options.trust = trust;
    options.nesterov = nesterov;
    for (Variable* variable : {&weight, &bias}) {
      variable->value().fill(2);
      variable->set_grad(ones(variable->shape()));
    }
    make_optimizer(options, {{"weight", &weight}, {"bias", &bias}})->step(0.125);
    return std::pair(weight.value().to_vector<float>()[0], bias.value().to_vector<float>()[0]);
  };
  using Values = std::pair<float, float>;
  // SGD: p - lr (g + w p), with w = 0 for the bias where only weights decay.
  CHECK(after_step(OptimizerName::sgd, true, 0) == Values{1.75f, 1.75f});
  CHECK(after_step(OptimizerName::sgd, false, 0) == Values{1.75f, 1.875f});
  // Adam's first step is lr long; AdamW's decay, lr w p = 0.125, comes on top.
  const Values adam = after_step(OptimizerName::adam, true, 0);
  CHECK(adam.first == gradus::test::near(1.875));
  const Values adamw = after_step(OptimizerName::adamw, true, 0);
  CHECK(adamw.first == gradus::test::near(1.75));
  // |p| = 4, |g| = 2, |g + w p| = 4. solo-learn's form: q = min(trust 4 / (2 + 0.5 4) / lr, 1).
  const Values lars = after_step(OptimizerName::lars, false, 0);
  CHECK(lars.first == gradus::test::near(2 - 0.125 * 0.02 / 0.125 * 2));
  CHECK(lars.second == 1.875f);
  CHECK(after_step(OptimizerName::lars, false, 1).first == gradus::test::near(1.75));
  // Nesterov's first step: d + momentum d in the place of d.
  CHECK(after_step(OptimizerName::lars, false, 1, true).first ==
        gradus::test::near(2 - 1.25 * 0.25));
  CHECK(after_step(OptimizerName::sgd, true, 0, true).first == gradus::test::near(2 - 1.25 * 0.25));
  // VICReg's: q = trust 4 / 4.
  const Values lars_vicreg = after_step(OptimizerName::lars_vicreg, false, 0);
  CHECK(lars_vicreg.first == gradus::test::near(2 - 0.125 * 0.001 * 2));
  CHECK(lars_vicreg.second == 1.875f);
  // Muon: |g + w p| = 4, too; a third of the step for linear layers.
  const Values muon = after_step(OptimizerName::muon, false, 0);
  CHECK(muon.first == gradus::test::near(2 - 0.125 / 3 * 0.03 * 2));
  CHECK(muon.second == 1.875f);
  CHECK(after_step(OptimizerName::muon, false, 0.5).first ==
        gradus::test::near(2 - 0.125 / 3 * 0.5 * 2));
  CHECK(after_step(OptimizerName::muon, false, 0, true).second ==
        gradus::test::near(2 - 1.25 * 0.125));
}

TEST_CASE("recipes: Muon's step of a convolution is three times as long as a linear layer's") {
  for (const bool decay_all : {false, true}) {
    CAPTURE(decay_all);
    Variable conv(full({2, 2, 1, 1}, 2), true), linear(full({2, 2}, 2), true),
        bias(full({2}, 2), true);
    for (Variable* variable : {&conv, &linear, &bias}) variable->set_grad(ones(variable->shape()));
    TrainOptions options;
    options.optimizer = OptimizerName::muon;
    options.trust = 0.3;
    options.weight_decay = 0.5;
    options.decay_all = decay_all;
    make_optimizer(options, {{"linear", &linear}, {"conv", &conv}, {"bias", &bias}})->step(0.125);
    // All elements of a step are equal: of a length of trust |p|, each is trust p.
    CHECK(conv.value().to_vector<float>()[3] == gradus::test::near(2 - 0.125 * 0.3 * 2));
    CHECK(linear.value().to_vector<float>()[3] == gradus::test::near(2 - 0.125 / 3 * 0.3 * 2));
    CHECK(bias.value().to_vector<float>()[1] ==
          gradus::test::near(decay_all ? 2 - 0.125 * 0.3 * 2 : 2 - 0.125));
  }
}
