#include "vicreg/options.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <nlohmann/json.hpp>

#include <gradus/tensor/check.h>
#include "common/command_line.h"
#include "vicreg/architecture.h"
#include "vicreg/recipes.h"
#include "vicreg/weights.h"

namespace gradus::vicreg {
namespace {

using apps::add_choice;
using apps::add_integer;
using apps::add_switch;
using apps::finite;
using apps::non_negative;
using apps::positive;

void add_view_options(CLI::App& app, ViewOptions& o) {
  app.option_defaults()->group("Views");
  add_integer(app, "--views", o.count, "Views of each image", 2, 64);
  add_choice(app, "--augment", o.augment, augmentations);
  apps::add_list(app, "--crop-scale", o.crop_scale,
                 "Least and largest area of a crop, of the image's", finite());
  apps::add_list(app, "--crop-ratio", o.crop_ratio, "Least and largest width / height of a crop",
                 finite());
  add_integer(app, "--view-size", o.size,
              "Pixels a side to which crops are resized; 0: as many as the images have", 0, 4096);
}

void add_image_options(CLI::App& app, TrainOptions& o) {
  app.option_defaults()->group("Data");
  add_data_options(app, o.data);
  add_switch(app, "--shuffle,!--no-shuffle", o.shuffle,
             "Shuffle (default), or take the images in the files' order");
  add_switch(app, "--drop-last,!--keep-last", o.drop_last,
             "Drop (default) or keep a partial last batch; a small batch raises the covariance "
             "term, so keeping it disturbs the end of every epoch");
  add_integer(app, "--batch-size", o.batch_size, "Images a step, each in all its views", 2,
              1 << 20);
  add_integer(app, "--workers", o.workers, "Threads that augment ahead; 0: none", 0, 1024);
}

void add_model_options(CLI::App& app, TrainOptions& o) {
  app.option_defaults()->group("Model and loss");
  add_encoder_options(app, o.model.encoder);
  apps::add_list(app, "--projector", o.model.projector_widths,
                 "Widths of the projector's linear layers",
                 apps::integer<std::int64_t>(1, 1 << 20));
  add_switch(app, "--zero-init-residual,!--no-zero-init-residual",
             o.model.encoder.zero_init_residual, "Start each block's last batch norm at 0");
  add_choice(app, "--loss", o.loss, loss_names);
  app.add_option("--invariance", o.vicreg.invariance, "Weight of vicreg's invariance term")
      ->check(finite());
  app.add_option("--variance", o.vicreg.variance,
                 "Weight of vicreg's variance term, twice its mean over the views (the authors' "
                 "code takes the mean: 12.5)")
      ->check(finite());
  app.add_option("--covariance", o.vicreg.covariance, "Weight of vicreg's covariance term")
      ->check(finite());
  app.add_option("--loss-eps", o.vicreg.eps, "Added to vicreg's variance under the root")
      ->check(non_negative());
  app.add_option("--similarity", o.coding_rate.similarity,
                 "Weight of the views' similarity beside the coding rate")
      ->check(finite());
  app.add_option("--distortion", o.coding_rate.eps,
                 "Squared distortion up to which coding-rate codes the embeddings")
      ->check(positive());
  add_switch(app, "--separate-views,!--joined-views", o.separate_views,
             "Forward the views one after the other, each with its own batch statistics, or as "
             "one batch");
}

void add_optimizer_options(CLI::App& app, TrainOptions& o) {
  app.option_defaults()->group("Optimiser");
  add_choice(app, "--optimizer", o.optimizer, optimizer_names);
  add_integer(app, "--epochs", o.epochs, "Epochs, those before an interruption included", 1,
              most_epochs);
  add_integer(
      app, "--steps", o.steps,
      "Stop after N steps, those before an interruption included; -1: when the epochs are done. "
      "--resume without it goes on to the end",
      -1, std::int64_t{1} << 40);
  app.add_option("--lr", o.lr, "Learning rate")->check(positive());
  add_switch(app, "--scale-lr,!--no-scale-lr", o.scale_lr,
             "Multiply the learning rate by batch / 256");
  app.add_option("--weight-decay", o.weight_decay, "Weight decay")->check(non_negative());
  app.add_option("--momentum", o.momentum, "Momentum of sgd, lars and muon")
      ->check(finite())
      ->check(CLI::Range(0.0, 1.0));
  add_switch(app, "--nesterov,!--no-nesterov", o.nesterov,
             "Nesterov's momentum, of sgd, lars and muon");
  app.add_option("--trust", o.trust,
                 "Trust coefficient of lars and muon; 0: the optimiser's own (lars 0.02, "
                 "lars-vicreg 0.001, muon 0.03, a third of it for linear layers)")
      ->check(non_negative());
  add_switch(
      app, "--decay-all,!--decay-weights-only", o.decay_all,
      "Whether weight decay (and the adaptation of lars and muon) holds for biases and norms too");
  app.add_option("--clip-norm", o.clip_norm, "Largest norm of the gradient; 0: no clipping")
      ->check(non_negative());
  add_choice(app, "--schedule", o.schedule, schedule_names);
  add_integer(app, "--warmup-epochs", o.warmup_epochs,
              "Epochs of warm-up, of warmup-cosine and vicreg", 0, most_epochs);
  apps::add_list(app, "--milestones", o.milestones,
                 "Epochs at which the schedule 'step' divides by 10",
                 apps::integer<std::int64_t>(0, most_epochs));
}

void add_run_options(CLI::App& app, TrainOptions& o) {
  app.option_defaults()->group("Run");
  add_choice(app, "--recipe", o.recipe, recipes,
             "Whole set of defaults, which --config overrules: ");
  apps::add_compute_options(app, o.compute);
  add_switch(app, "--checkpoint-activations,!--no-checkpoint-activations", o.checkpoint_activations,
             "Less memory for more time: residual blocks keep their input only and compute their "
             "inside again in backward");
  add_integer(app, "--shards", o.shards,
              "Cut each batch into that many parts, 1, 2, 4, ..., computed side by side and "
              "joined in a fixed order. The result depends on their number, never on that of "
              "the processes that share them: mpirun -n 4 train --shards 4",
              1, 1024);
  add_switch(app, "--unordered-sums,!--no-unordered-sums", o.unordered_sums,
             "Let MPI or NCCL add up in an order of their own: the result then depends on the "
             "processes, too");
  add_integer(app, "--seed", o.seed, "Of the initial weights, the order and the augmentation", 0);
}

/// What a run starts from, and what it leaves.
void add_folder_options(CLI::App& app, TrainOptions& o) {
  app.option_defaults()->group("Run");
  app.add_option("--out", o.out, "Run folder: checkpoint, metrics, report, configuration")
      ->check(apps::folder_name());
  CLI::Option* init =
      app.add_option("--init", o.init,
                     "Start from the weights in this file: of train, or a state_dict of PyTorch "
                     "(.safetensors, or torch.save's .pt)")
          ->check(apps::file_name())
          ->configurable(false);
  app.add_option("--continue-from", o.continue_from,
                 "Go on from a PyTorch program's checkpoint (torch.save of a dict of epoch, "
                 "model_state_dict and Adam's optimizer_state_dict): its weights, moments and "
                 "steps, and, unless told otherwise, its architecture; the learning rate and the "
                 "weight decay are those of the options")
      ->check(apps::file_name())
      ->excludes(init)
      ->configurable(false);
  CLI::Option* resume =
      app.add_flag("--resume", o.resume, "Go on from the run folder's checkpoint, if it has one")
          ->configurable(false);
  app.add_flag("--overwrite", o.overwrite,
               "Discard the run folder's checkpoint, metrics, report, results and event files, and "
               "start afresh")
      ->excludes(resume)
      ->configurable(false);
  add_integer(app, "--checkpoint-every", o.checkpoint_every,
              "Steps between checkpoints; 0: the end of every epoch", 0);
  add_integer(app, "--knn-every", o.knn_every, "Epochs between kNN evaluations; 0: none", 0,
              most_epochs);
  add_integer(app, "--knn-images", o.knn_images, "Images of each split used for kNN, at most", 1);
  add_switch(
      app, "--probe,!--no-probe", o.probe,
      "Train a linear classifier beside, as solo-learn does: its accuracy on each batch and, "
      "each epoch, on the test images; the encoder does not notice it");
  add_switch(app, "--tensorboard,!--no-tensorboard", o.tensorboard,
             "Also write the metrics and, each epoch, histograms of weights and gradients, and the "
             "views, for TensorBoard: tensorboard --logdir OUT");
  app.add_flag(
         "--dry-run", o.dry_run,
         "Make a few steps, write nothing, and say what the run will take, in one shard: memory, "
         "time, disk")
      ->configurable(false);
  app.add_option("--export", o.export_file, "Write the weights alone to this file at the end")
      ->check(apps::file_name())
      ->configurable(false);
}

std::filesystem::path own_file(const TrainOptions& o) {
  return std::filesystem::path(o.out) / config_name;
}

/// With --resume the run folder's own configuration, if it has one; but how far the call before was
/// to go does not hold for this one, nor does the folder's name, which may have changed.
apps::ConfigFile own_config(const TrainOptions& o) {
  const std::filesystem::path own = own_file(o);
  if (!o.resume || !std::filesystem::exists(own)) return {};
  return apps::ConfigFile::read(own).without("steps").without("out");
}

void check_consistency(const TrainOptions& o) {
  const std::string recipe(apps::name_of(recipes, o.recipe)), own = own_config(o).value("recipe");
  check(own.empty() || own == recipe, "train",
        "--recipe {}: the run in {} has the recipe {}, whose options --resume goes on with", recipe,
        o.out, own);
  check(!o.model.projector_widths.empty(), "train", "--projector needs at least one width");
  check(std::has_single_bit(static_cast<unsigned>(o.shards)), "train",
        "--shards must be 1, 2, 4, 8, ...; got {}", o.shards);
  check(o.batch_size % o.shards == 0, "train",
        "--batch-size {} cannot be cut into {} equal --shards", o.batch_size, o.shards);
  check(o.shards == 1 || !(o.probe || o.dry_run), "train",
        "--probe and --dry-run are for one shard; got --shards {}", o.shards);
  data::validate(augment_options(o.views));
  const bool warms_up =
      o.schedule == ScheduleName::warmup_cosine || o.schedule == ScheduleName::vicreg;
  check(!warms_up || o.warmup_epochs < o.epochs, "train",
        "--warmup-epochs {} must be less than --epochs {}", o.warmup_epochs, o.epochs);
}

/// The end of the help.
constexpr const char* manual = R"text(Files, in the run folder:
  checkpoint.safetensors   weights under PyTorch's names, optimiser, position, options
  metrics.jsonl            a line a step and one an epoch
  config.toml              the options: --config makes such a run again
  report.html              all of it on a page for the browser, renewed each epoch

Examples:
  train --data cifar10 --out runs/a --bf16 --epochs 100
  train --out runs/a --resume                      go on after an interruption
  train --config runs/a/config.toml --out runs/b --seed 1
  train --recipe solo-learn --print-config         what a recipe stands for
  eval "$(train --completion)"                     bash and zsh complete options

Environment:
  GRADUS_SIMD=avx2         use no more of the processor's vector instructions than these
  GRADUS_CUDA_SYNC=1       wait for each launch on a GPU, and name the kernel that fails

Exit codes:
  0    done
  1    an error, in one line on stderr; the last checkpoint is as it was
  130, 143, 129  Ctrl-C, SIGTERM or SIGHUP (a closed terminal): the step was finished and saved;
       a second one ends the run at once. --resume goes on.
Without a reader of its output (train | head) a run goes on.)text";

}  // namespace

bool parse_train_options(int argc, const char* const* argv, TrainOptions& options,
                         std::string& config) {
  const apps::ConfigurableProgram program{
      .description = "Pre-trains a ResNet encoder with VICReg (self-supervised).",
      .name = "train",
      .preset = "recipe",
      .add_options =
          [&](CLI::App& app, const std::string& recipe) {
            // The second time these are known. A run goes on with what its folder says.
            const bool resumes = options.resume && std::filesystem::exists(own_file(options));
            const std::string source = resumes ? "" : options.continue_from;
            options =
                recipe_defaults(apps::find_choice(recipes, recipe).value_or(Recipe::standard));
            if (!source.empty()) options.model = read_architecture(source);
            add_run_options(app, options);
            add_folder_options(app, options);
            add_image_options(app, options);
            add_view_options(app, options.views);
            add_model_options(app, options);
            add_optimizer_options(app, options);
            app.footer(manual);
          },
      .default_config = [&] { return own_config(options); },
      .check_options = [&] { check_consistency(options); }};
  return apps::parse_command_line(program, argc, argv, &config);
}

nlohmann::json to_json(const ViewOptions& o) {
  return {{"views", o.count},
          {"augment", apps::name_of(augmentations, o.augment)},
          {"crop-scale", o.crop_scale},
          {"crop-ratio", o.crop_ratio},
          {"view-size", o.size}};
}

ViewOptions view_options_from_json(const nlohmann::json& saved) {
  ViewOptions o;
  nlohmann::json json = to_json(o);
  json.update(saved);
  json.at("views").get_to(o.count);
  o.augment = apps::choice(augmentations, "augment", json.at("augment").get<std::string>());
  json.at("crop-scale").get_to(o.crop_scale);
  json.at("crop-ratio").get_to(o.crop_ratio);
  json.at("view-size").get_to(o.size);
  return o;
}

ImageFacts image_facts_from_json(const nlohmann::json& saved) {
  ImageFacts facts;
  if (!saved.contains("images")) return facts;
  saved.at("images").get_to(facts.count);
  saved.at("mean").get_to(facts.normalization.mean);
  saved.at("std").get_to(facts.normalization.std);
  return facts;
}

nlohmann::json identity(const TrainOptions& o) {
  nlohmann::json json{{"dataset", apps::name_of(dataset_names, o.data.dataset)},
                      {"limit", o.data.limit},
                      {"image-size", o.data.image_size},
                      {"model", to_json(o.model)},
                      {"shuffle", o.shuffle},
                      {"drop-last", o.drop_last},
                      {"batch-size", o.batch_size},
                      {"loss", apps::name_of(loss_names, o.loss)},
                      {"invariance", o.vicreg.invariance},
                      {"variance", o.vicreg.variance},
                      {"covariance", o.vicreg.covariance},
                      {"loss-eps", o.vicreg.eps},
                      {"similarity", o.coding_rate.similarity},
                      {"distortion", o.coding_rate.eps},
                      {"separate-views", o.separate_views},
                      {"optimizer", apps::name_of(optimizer_names, o.optimizer)},
                      {"lr", o.lr},
                      {"scale-lr", o.scale_lr},
                      {"weight-decay", o.weight_decay},
                      {"momentum", o.momentum},
                      {"nesterov", o.nesterov},
                      {"trust", o.trust},
                      {"decay-all", o.decay_all},
                      {"clip-norm", o.clip_norm},
                      {"schedule", apps::name_of(schedule_names, o.schedule)},
                      {"warmup-epochs", o.warmup_epochs},
                      {"milestones", o.milestones},
                      {"shards", o.shards},
                      {"bf16", o.compute.bf16},
                      {"tf32", o.compute.tf32},
                      {"winograd", o.compute.winograd},
                      {"probe", o.probe},
                      {"seed", o.seed}};
  json.update(to_json(o.views));
  if (depends_on_epochs(o.schedule)) json["epochs"] = o.epochs;
  if (o.images.count > 0)
    json.update({{"images", o.images.count},
                 {"mean", o.images.normalization.mean},
                 {"std", o.images.normalization.std}});
  return json;
}

}  // namespace gradus::vicreg
