#include "vicreg/options.h"

#include <omp.h>

#include <filesystem>

#include <gradus/tensor/check.h>
#include "common/command_line.h"
#include "common/program.h"

namespace gradus::vicreg {
namespace {

using apps::add_switch;
using apps::finite;
using apps::non_negative;
using apps::positive;

void add_data_options(CLI::App& app, TrainOptions& o) {
  const std::string group = "Data";
  app.add_option("--dataset", o.data.dataset, "cifar10, or synthetic (built in)")
      ->check(CLI::IsMember({"cifar10", "synthetic"}))
      ->group(group);
  app.add_option("--data", o.data.folder, "Folder with CIFAR-10's binary files")->group(group);
  app.add_option("--limit", o.data.limit, "Use the first N training images; 0: all")
      ->check(non_negative())
      ->group(group);
  app.add_option("--augment", o.augment, "vicreg, solo-learn, or none (both views the image)")
      ->check(CLI::IsMember({"vicreg", "solo-learn", "none"}))
      ->group(group);
  add_switch(app, "--shuffle,!--no-shuffle", o.shuffle,
             "Shuffle (default), or take the images in the files' order")
      ->group(group);
  add_switch(app, "--drop-last,!--keep-last", o.drop_last,
             "Drop (default) or keep a partial last batch; a small batch raises the covariance "
             "term, so keeping it disturbs the end of every epoch")
      ->group(group);
  app.add_option("--batch-size", o.batch_size, "Images a step (each seen in two views)")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20))
      ->group(group);
  app.add_option("--workers", o.workers, "Threads that augment ahead; 0: none")
      ->check(CLI::Range(0, 1024))
      ->group(group);
}

void add_model_options(CLI::App& app, TrainOptions& o) {
  const std::string group = "Model and loss";
  add_architecture_options(app, o.model, group);
  app.add_option("--projector", o.model.projector, "Widths of the projector's linear layers")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->group(group);
  add_switch(app, "--zero-init-residual,!--no-zero-init-residual", o.model.zero_init_residual,
             "Start each block's last batch norm at 0")
      ->group(group);
  app.add_option("--invariance", o.loss.invariance, "Weight of the invariance term")
      ->check(finite())
      ->group(group);
  app.add_option("--variance", o.loss.variance,
                 "Weight of the variance term, summed over both views (the paper averages: 12.5)")
      ->check(finite())
      ->group(group);
  app.add_option("--covariance", o.loss.covariance, "Weight of the covariance term")
      ->check(finite())
      ->group(group);
  app.add_option("--loss-eps", o.loss.eps, "Added to the variance under the root")
      ->check(non_negative())
      ->group(group);
  add_switch(app, "--separate-views,!--joined-views", o.separate_views,
             "Forward the views one after the other, each with its own batch statistics, or as "
             "one batch")
      ->group(group);
}

void add_optimizer_options(CLI::App& app, TrainOptions& o) {
  const std::string group = "Optimiser";
  app.add_option("--optimizer", o.optimizer,
                 "sgd, adam, adamw, lars (solo-learn's form) or lars-vicreg (the paper's)")
      ->check(CLI::IsMember({"sgd", "adam", "adamw", "lars", "lars-vicreg"}))
      ->group(group);
  app.add_option("--epochs", o.epochs, "Epochs")
      ->check(CLI::Range(std::int64_t{1}, most_epochs))
      ->group(group);
  app.add_option("--steps", o.steps, "Stop after N steps; -1: when the epochs are done")
      ->check(CLI::Range(std::int64_t{-1}, std::int64_t{1} << 40))
      ->group(group);
  app.add_option("--lr", o.lr, "Learning rate")->check(positive())->group(group);
  add_switch(app, "--scale-lr,!--no-scale-lr", o.scale_lr,
             "Multiply the learning rate by batch / 256")
      ->group(group);
  app.add_option("--weight-decay", o.weight_decay, "Weight decay")
      ->check(non_negative())
      ->group(group);
  app.add_option("--momentum", o.momentum, "Momentum of sgd and lars")
      ->check(finite())
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  app.add_option("--trust", o.trust,
                 "LARS's trust coefficient; 0: the form's own (0.02, or 0.001 with lars-vicreg)")
      ->check(non_negative())
      ->group(group);
  add_switch(app, "--decay-all,!--decay-weights-only", o.decay_all,
             "Whether weight decay (and LARS's adaptation) holds for biases and norms too")
      ->group(group);
  app.add_option("--clip-norm", o.clip_norm, "Largest norm of the gradient; 0: no clipping")
      ->check(non_negative())
      ->group(group);
  app.add_option("--schedule", o.schedule,
                 "constant, step, cosine, warmup-cosine (3e-5 to lr to 0) or vicreg (0 to lr to "
                 "lr / 1000)")
      ->check(CLI::IsMember({"constant", "step", "cosine", "warmup-cosine", "vicreg"}))
      ->group(group);
  app.add_option("--warmup-epochs", o.warmup_epochs, "Epochs of warm-up")
      ->check(CLI::Range(std::int64_t{0}, most_epochs))
      ->group(group);
  app.add_option("--milestones", o.milestones, "Epochs at which the schedule 'step' divides by 10")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{0}, most_epochs))
      ->group(group);
}

void add_run_options(CLI::App& app, TrainOptions& o) {
  const std::string group = "Run";
  app.add_option("--recipe", o.recipe,
                 "Whole set of defaults: default (Adam), or solo-learn (LARS, 92 % after 1,000 "
                 "epochs as published)")
      ->check(CLI::IsMember({"default", "solo-learn"}))
      ->group(group);
  app.add_option("--device", o.device, "auto (the GPU if one works), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->group(group);
  add_switch(app, "--bf16,!--no-bf16", o.bf16,
             "Mixed precision: activations and products of bfloat16; weights, sums, statistics and "
             "loss of float32")
      ->group(group);
  add_switch(app, "--tf32,!--no-tf32", o.tf32,
             "On a GPU, round the inputs of float32 products to TF32")
      ->group(group);
  app.add_option("--winograd", o.winograd, winograd_help)
      ->check(CLI::IsMember({4, 2, 0}))
      ->group(group);
  add_switch(app, "--checkpoint-activations,!--no-checkpoint-activations", o.checkpoint_activations,
             "Less memory for more time: residual blocks keep their input only and compute their "
             "inside again in backward")
      ->group(group);
  app.add_option("--threads", o.threads, "Threads of the computation; 0: all cores")
      ->check(CLI::Range(0, 4096))
      ->group(group);
  app.add_option("--seed", o.seed, "Of the initial weights, the order and the augmentation")
      ->check(non_negative())
      ->group(group);
  app.add_option("--out", o.out, "Run folder: checkpoint, metrics, pictures, configuration")
      ->group(group);
  app.add_option("--init", o.init, "Start from the weights in this file (weights only)")
      ->group(group)
      ->configurable(false);
  app.add_flag("--resume", o.resume, "Go on from the run folder's checkpoint, if it has one")
      ->group(group)
      ->configurable(false);
  app.add_flag("--overwrite", o.overwrite, "Discard the run folder's checkpoint and start afresh")
      ->group(group)
      ->configurable(false);
  app.add_option("--checkpoint-every", o.checkpoint_every,
                 "Steps between checkpoints; 0: the end of every epoch")
      ->check(non_negative())
      ->group(group);
  app.add_option("--knn-every", o.knn_every, "Epochs between kNN evaluations; 0: none")
      ->check(CLI::Range(std::int64_t{0}, most_epochs))
      ->group(group);
  app.add_option("--knn-images", o.knn_images, "Images of each split used for kNN, at most")
      ->check(positive())
      ->group(group);
  app.add_option("--export", o.export_file, "Write the weights alone to this file at the end")
      ->group(group);
}

/// With --resume the run folder's own configuration, if it has one.
std::string own_config(const TrainOptions& o) {
  const auto own = std::filesystem::path(o.out) / "config.toml";
  return o.resume && std::filesystem::exists(own) ? own.string() : "";
}

void check_consistency(const TrainOptions& o) {
  check(!o.model.projector.empty(), "train", "--projector needs at least one width");
  const bool warms_up = o.schedule == "warmup-cosine" || o.schedule == "vicreg";
  check(!warms_up || o.warmup_epochs < o.epochs, "train",
        "--warmup-epochs {} must be less than --epochs {}", o.warmup_epochs, o.epochs);
}

}  // namespace

TrainOptions recipe_defaults(const std::string& recipe) {
  TrainOptions o;
  o.recipe = recipe;
  if (recipe == "solo-learn") {  // solo-learn's configuration for VICReg on CIFAR-10
    o.model.stem_padding = 2;
    o.model.projector = {2048, 2048, 2048};
    o.augment = "solo-learn";
    o.separate_views = true;
    o.epochs = 1000;
    o.optimizer = "lars";
    o.lr = 0.3;
    o.scale_lr = true;
    o.weight_decay = 1e-4;
    o.decay_all = false;
    o.schedule = "warmup-cosine";
  }
  return o;
}

void add_architecture_options(CLI::App& app, ModelOptions& o, const std::string& group) {
  app.add_option("--arch", o.architecture, "resnet18 or resnet34")
      ->check(CLI::IsMember({"resnet18", "resnet34"}))
      ->group(group);
  app.add_option("--width", o.width,
                 "Channels of the first stage; the last has eight times as many")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{4096}))
      ->group(group);
  app.add_option("--stem", o.stem, "cifar (3x3, stride 1) or imagenet (7x7, stride 2, max-pool)")
      ->check(CLI::IsMember({"cifar", "imagenet"}))
      ->group(group);
  app.add_option("--stem-padding", o.stem_padding, "Padding of the cifar stem")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{2}))
      ->group(group);
  add_switch(app, "--stem-bias,!--no-stem-bias", o.stem_bias, "A bias in the stem's convolution")
      ->group(group);
  app.add_option("--fc-features", o.fc_features,
                 "Outputs of a linear layer at the encoder's end; 0: none")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 20))
      ->group(group);
}

bool parse_train_options(int argc, const char* const* argv, TrainOptions& options,
                         std::string& config) {
  const apps::ConfigurableProgram program{
      .description = "Pre-trains a ResNet encoder with VICReg (self-supervised).",
      .name = "train",
      .preset = "recipe",
      .add_options =
          [&](CLI::App& app, const std::string& recipe) {
            options = recipe_defaults(recipe.empty() ? "default" : recipe);
            add_run_options(app, options);
            add_data_options(app, options);
            add_model_options(app, options);
            add_optimizer_options(app, options);
            app.footer(
                "Ctrl-C, SIGTERM and SIGHUP (a closed terminal) finish the step, save and end the "
                "run, a second one of them at once; --resume goes on. Without a reader of its "
                "output (train | head) the run goes on.");
          },
      .default_file = [&] { return own_config(options); }};
  if (!apps::parse_command_line(program, argc, argv, &config)) return false;
  check_consistency(options);
  return true;
}

nlohmann::json identity(const TrainOptions& o) {
  return {{"dataset", o.data.dataset},
          {"limit", o.data.limit},
          {"model", to_json(o.model)},
          {"augment", o.augment},
          {"shuffle", o.shuffle},
          {"drop-last", o.drop_last},
          {"batch-size", o.batch_size},
          {"epochs", o.schedule == "constant" ? 0 : o.epochs},
          {"invariance", o.loss.invariance},
          {"variance", o.loss.variance},
          {"covariance", o.loss.covariance},
          {"loss-eps", o.loss.eps},
          {"separate-views", o.separate_views},
          {"optimizer", o.optimizer},
          {"lr", o.lr},
          {"scale-lr", o.scale_lr},
          {"weight-decay", o.weight_decay},
          {"momentum", o.momentum},
          {"trust", o.trust},
          {"decay-all", o.decay_all},
          {"clip-norm", o.clip_norm},
          {"schedule", o.schedule},
          {"warmup-epochs", o.warmup_epochs},
          {"milestones", o.milestones},
          {"bf16", o.bf16},
          {"tf32", o.tf32},
          {"winograd", o.winograd},
          {"seed", o.seed}};
}

nlohmann::json to_json(const ModelOptions& o) {
  return {{"architecture", o.architecture},
          {"width", o.width},
          {"stem", o.stem},
          {"stem-padding", o.stem_padding},
          {"stem-bias", o.stem_bias},
          {"fc-features", o.fc_features},
          {"zero-init-residual", o.zero_init_residual},
          {"projector", o.projector}};
}

ModelOptions model_options_from_json(const nlohmann::json& json) {
  ModelOptions o;
  json.at("architecture").get_to(o.architecture);
  json.at("width").get_to(o.width);
  json.at("stem").get_to(o.stem);
  json.at("stem-padding").get_to(o.stem_padding);
  json.at("stem-bias").get_to(o.stem_bias);
  json.at("fc-features").get_to(o.fc_features);
  json.at("zero-init-residual").get_to(o.zero_init_residual);
  json.at("projector").get_to(o.projector);
  return o;
}

nn::VICRegModel::Options model_options(const ModelOptions& o) {
  nn::ResNet::Options encoder = o.architecture == "resnet34" ? nn::resnet34() : nn::resnet18();
  encoder.width = o.width;
  encoder.stem = o.stem == "imagenet" ? nn::Stem::imagenet : nn::Stem::cifar;
  encoder.stem_padding = o.stem_padding;
  encoder.stem_bias = o.stem_bias;
  encoder.fc_features = o.fc_features;
  encoder.zero_init_residual = o.zero_init_residual;
  return {.encoder = encoder, .projector_widths = o.projector};
}

data::AugmentOptions augment_options(const std::string& name) {
  if (name == "vicreg") return data::vicreg_augmentation();
  if (name == "solo-learn") return data::solo_learn_augmentation();
  check(name == "none", "train", "unknown augmentation '{}'", name);
  return {};
}

Device choose_device(const std::string& name, bool tf32) {
  if (name == "cpu") return Device::cpu;
  if (cuda_available()) {
    allow_tf32(tf32);
    return Device::cuda;
  }
  check(name != "cuda", "device", "--device cuda: {}; on the CPU: --device cpu",
        cuda_unavailable_reason());
  apps::print("on the CPU: {}\n", cuda_unavailable_reason());
  return Device::cpu;
}

std::string device_text(Device device) {
  return device == Device::cuda ? cuda_device_description()
                                : fmt::format("{} threads", omp_get_max_threads());
}

int set_threads(int threads) {
  if (threads > 0) omp_set_num_threads(threads);
  return omp_get_max_threads();
}

}  // namespace gradus::vicreg
