// The options of `train`: recipes, files, the command line, and which of them wins.
#include "vicreg/options.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/apps/programs.h"

namespace {

using namespace gradus;
using namespace gradus::test;
using vicreg::Augmentation;
using vicreg::OptimizerName;
using vicreg::Recipe;
using vicreg::ScheduleName;
using vicreg::TrainOptions;

/// What `train` would run with, and the resolved configuration.
struct Parsed {
  TrainOptions options;
  std::string config;
};

Parsed parse(const Arguments& arguments) {
  std::vector<const char*> argv{"train"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  Parsed parsed;
  REQUIRE(vicreg::parse_train_options(static_cast<int>(argv.size()), argv.data(), parsed.options,
                                      parsed.config));
  return parsed;
}

/// Everything that an option can set, for comparisons.
nlohmann::json all_of(const TrainOptions& o) {
  nlohmann::json json = identity(o);
  json["epochs"] = o.epochs;
  json["recipe"] = o.recipe;
  json["data"] = o.data.folder;
  json["skip-unreadable"] = o.data.skip_unreadable;
  json["steps"] = o.steps;
  json["device"] = o.compute.device;
  json["threads"] = o.compute.threads;
  json["workers"] = o.workers;
  json["out"] = o.out;
  json["checkpoint-activations"] = o.checkpoint_activations;
  json["checkpoint-every"] = o.checkpoint_every;
  json["knn-every"] = o.knn_every;
  json["knn-images"] = o.knn_images;
  return json;
}

}  // namespace

TEST_CASE("the default recipe") {
  const TrainOptions o = parse({}).options;
  CHECK(o.recipe == Recipe::standard);
  CHECK(o.data.dataset == vicreg::DatasetName::cifar10);
  CHECK(o.model.encoder.layers == nn::resnet18().layers);
  CHECK(o.model.encoder.width == 64);
  CHECK(o.model.encoder.stem_padding == 1);
  CHECK_FALSE(o.model.encoder.stem_bias);
  CHECK(o.model.projector_widths == std::vector<std::int64_t>{1024, 1024, 1024, 1024});
  CHECK(o.batch_size == 256);
  CHECK(o.epochs == 500);
  CHECK(o.optimizer == OptimizerName::adam);
  CHECK(o.lr == 2e-4);
  CHECK(o.weight_decay == 1e-6);
  CHECK(o.schedule == ScheduleName::constant);
  CHECK(o.vicreg.invariance == 25);
  CHECK(o.vicreg.variance == 25);
  CHECK(o.vicreg.covariance == 1);
  CHECK(o.views.count == 2);
  CHECK(o.views.augment == Augmentation::vicreg);
  CHECK(o.views.size == 0);
  CHECK_FALSE(o.separate_views);
  CHECK(o.drop_last);
  CHECK(o.shuffle);
}

TEST_CASE("the recipe of solo-learn") {
  const TrainOptions o = parse({"--recipe", "solo-learn"}).options;
  CHECK(o.recipe == Recipe::solo_learn);
  CHECK(o.model.encoder.stem_padding == 2);
  CHECK(o.model.projector_widths == std::vector<std::int64_t>{2048, 2048, 2048});
  CHECK(o.views.augment == Augmentation::solo_learn);
  CHECK(o.separate_views);
  CHECK(o.epochs == 1000);
  CHECK(o.batch_size == 256);
  CHECK(o.optimizer == OptimizerName::lars);
  CHECK(o.lr == 0.3);
  CHECK(o.scale_lr);
  CHECK(o.weight_decay == 1e-4);
  CHECK(o.momentum == 0.9);
  CHECK_FALSE(o.decay_all);
  CHECK(o.schedule == ScheduleName::warmup_cosine);
  CHECK(o.warmup_epochs == 10);
  CHECK(o.drop_last);
}

TEST_CASE("the recipe of EMP-SSL") {
  const TrainOptions o = parse({"--recipe", "emp-ssl"}).options;
  CHECK(o.recipe == Recipe::emp_ssl);
  CHECK(o.model.encoder.stem_padding == 1);
  CHECK(o.model.projector_widths == std::vector<std::int64_t>{4096, 4096, 1024});
  CHECK(o.views.count == 20);
  CHECK(o.views.augment == Augmentation::emp_ssl);
  CHECK(o.views.crop_scale == std::array{0.25, 0.25});
  CHECK(o.views.crop_ratio == std::array{1.0, 1.0});
  CHECK(o.views.size == 0);
  CHECK(o.batch_size == 100);
  CHECK(o.epochs == 30);
  CHECK(o.drop_last);
  CHECK_FALSE(o.separate_views);
  CHECK(o.loss == vicreg::LossName::coding_rate);
  CHECK(o.coding_rate.similarity == 200);
  CHECK(o.coding_rate.eps == 0.2);
  CHECK(o.optimizer == OptimizerName::lars);
  CHECK(o.lr == 0.3);
  CHECK_FALSE(o.scale_lr);
  CHECK(o.weight_decay == 1e-4);
  CHECK(o.momentum == 0.9);
  CHECK(o.nesterov);
  CHECK(o.trust == 0.005);
  CHECK_FALSE(o.decay_all);
  CHECK(o.schedule == ScheduleName::cosine);
}

TEST_CASE("the recipe fast is EMP-SSL's on small crops by Muon") {
  const TrainOptions o = parse({"--recipe", "fast"}).options;
  CHECK(o.recipe == Recipe::fast);
  CHECK(o.views.count == 8);
  CHECK(o.views.size == 16);
  CHECK(o.views.crop_scale == std::array{0.25, 1.0});
  CHECK(o.epochs == 11);
  CHECK(o.optimizer == OptimizerName::muon);
  CHECK(o.trust == 0.1);
  CHECK(o.model.projector_widths == std::vector<std::int64_t>{2048, 2048, 1024});
  // All else is EMP-SSL's.
  nlohmann::json fast = all_of(o), emp_ssl = all_of(parse({"--recipe", "emp-ssl"}).options);
  for (nlohmann::json* options : {&fast, &emp_ssl}) {
    for (const char* choice :
         {"recipe", "epochs", "views", "view-size", "crop-scale", "optimizer", "trust"})
      CHECK(options->erase(choice) == 1);
    CHECK(options->at("model").erase("projector") == 1);
  }
  CHECK(fast == emp_ssl);
  CHECK(o.views.augment == Augmentation::emp_ssl);
  CHECK(o.views.crop_ratio == std::array{1.0, 1.0});
}

TEST_CASE("the command line wins over the file, and the file over the recipe") {
  const TempFolder folder;
  const std::string file = folder / "run.toml";
  write_text(file, "recipe=\"solo-learn\"\nlr=0.7\nbatch-size=64\nprojector=[32, 16]\n");
  const TrainOptions o = parse({"--config", file, "--lr", "0.9"}).options;
  CHECK(o.lr == 0.9);
  CHECK(o.batch_size == 64);
  CHECK(o.model.projector_widths == std::vector<std::int64_t>{32, 16});
  CHECK(o.recipe == Recipe::solo_learn);
  CHECK(o.optimizer == OptimizerName::lars);
  CHECK(o.model.encoder.stem_padding == 2);

  const TrainOptions other = parse({"--config=" + file, "--recipe=default"}).options;
  CHECK(other.recipe == Recipe::standard);
  CHECK(other.optimizer == OptimizerName::adam);
  CHECK(other.lr == 0.7);
}

TEST_CASE("the recipe of a file decides the defaults, however TOML writes it") {
  const TempFolder folder;
  const std::string file = folder / "run.toml";
  const nlohmann::json expected = all_of(parse({"--recipe", "solo-learn"}).options);
  for (const std::string text :
       {"recipe = \"solo-learn\"  # note", "recipe='solo-learn'", "\xef\xbb\xbfrecipe='solo-learn'",
        "\"recipe\" = \"solo\\u002Dlearn\"", "# recipe = 'default'\n  recipe = 'solo-learn'\r\n",
        "seed = 0\nrecipe = \"\"\"solo-learn\"\"\"\n"}) {
    CAPTURE(text);
    write_text(file, text);
    CHECK(all_of(parse({"--config", file}).options) == expected);
  }
  write_text(file, "recipe = 'solo-learn'\nbatch-size = 1_024 # large\n");
  CHECK(parse({"--config", file}).options.batch_size == 1024);
}

TEST_CASE("the last of an option given twice holds") {
  const TrainOptions o = parse({"--lr", "1", "--recipe", "default", "--recipe", "solo-learn",
                                "--lr", "2", "--drop-last", "--keep-last"})
                             .options;
  CHECK(o.lr == 2);
  CHECK(o.optimizer == OptimizerName::lars);
  CHECK_FALSE(o.drop_last);
  const TrainOptions lists = parse({"--crop-scale", "0.1,0.2", "--projector", "8,4", "--crop-scale",
                                    "0.3,0.4", "--projector", "16"})
                                 .options;
  CHECK(lists.views.crop_scale == std::array{0.3, 0.4});
  CHECK(lists.model.projector_widths == std::vector<std::int64_t>{16});
}

TEST_CASE("integers are decimal, whatever zeros they begin with") {
  const Parsed parsed = parse({"--epochs", "010", "--seed", "007", "--projector", "010,8"});
  CHECK(parsed.options.epochs == 10);
  CHECK(parsed.options.seed == 7);
  CHECK(parsed.options.model.projector_widths == std::vector<std::int64_t>{10, 8});
  CHECK(contains(parsed.config, "epochs=10\n"));
  CHECK(contains(parsed.config, "projector=[10, 8]\n"));
}

TEST_CASE("the resolved configuration reads back to the same options") {
  const TempFolder folder;
  const std::string file = folder / "config.toml";
  const std::vector<Arguments> lines{
      {},
      {"--recipe", "solo-learn"},
      {"--recipe", "emp-ssl"},
      {"--recipe", "fast"},
      {"--recipe", "emp-ssl", "--no-nesterov", "--views", "4"},
      {"--recipe", "solo-learn", "--joined-views", "--no-scale-lr", "--decay-all"},
      {"--no-winograd", "--bf16", "--checkpoint-activations"},
      {"--no-shuffle", "--keep-last", "--zero-init-residual", "--stem-bias", "--separate-views"},
      {"--lr", "0.1234567890123", "--momentum", "0.95", "--loss-eps", "3e-5", "--trust", "0.01",
       "--invariance", "1.5", "--variance", "0", "--covariance", "-1", "--clip-norm", "2.5",
       "--weight-decay", "0.25"},
      {"--views", "64", "--crop-scale", "0.1,0.3", "--crop-ratio", "1,1.25", "--view-size", "24"},
      {"--loss", "coding-rate", "--similarity", "150.5", "--distortion", "0.3"},
      {"--projector", "7", "--milestones", "1,2,3", "--seed", "18446744073709551615"},
      {"--out", "a folder with spaces", "--data", "/some where/else"},
      {"--steps",
       "12",
       "--checkpoint-every",
       "3",
       "--knn-every",
       "2",
       "--knn-images",
       "10",
       "--workers",
       "0",
       "--threads",
       "3",
       "--device",
       "cpu",
       "--dataset",
       "folder",
       "--image-size",
       "48",
       "--skip-unreadable",
       "--limit",
       "9",
       "--augment",
       "none",
       "--arch",
       "resnet34",
       "--width",
       "8",
       "--stem",
       "imagenet",
       "--stem-padding",
       "0",
       "--fc-features",
       "5",
       "--epochs",
       "11",
       "--warmup-epochs",
       "2",
       "--schedule",
       "vicreg",
       "--optimizer",
       "lars-vicreg"},
  };
  for (const Arguments& arguments : lines) {
    const Parsed first = parse(arguments);
    CAPTURE(first.config);
    write_text(file, first.config);
    const Parsed second = parse({"--config", file});
    CHECK(all_of(second.options) == all_of(first.options));
    CHECK(second.config == first.config);
  }
}

TEST_CASE(
    "each option sets its own value and a run's identity holds those that decide its weights") {
  nlohmann::json expected{{"dataset", "folder"},
                          {"limit", 3},
                          {"image-size", 48},
                          {"batch-size", 12},
                          {"loss", "coding-rate"},
                          {"invariance", 1.5},
                          {"variance", 2.5},
                          {"covariance", 3.5},
                          {"loss-eps", 0.25},
                          {"similarity", 150.5},
                          {"distortion", 0.375},
                          {"optimizer", "lars-vicreg"},
                          {"lr", 0.7},
                          {"weight-decay", 0.125},
                          {"momentum", 0.75},
                          {"trust", 0.01},
                          {"clip-norm", 4.5},
                          {"schedule", "warmup-cosine"},
                          {"epochs", 11},
                          {"warmup-epochs", 5},
                          {"shards", 4},
                          {"seed", 8},
                          {"views", 6},
                          {"view-size", 24},
                          {"augment", "solo-learn"}};
  Arguments arguments{"--no-shuffle",
                      "--keep-last",
                      "--separate-views",
                      "--scale-lr",
                      "--nesterov",
                      "--decay-weights-only",
                      "--bf16",
                      "--tf32",
                      "--no-winograd",
                      "--milestones=1,2,7",
                      "--crop-scale=0.1,0.5",
                      "--crop-ratio=1,1.25",
                      "--projector=7,9",
                      "--arch=resnet34",
                      "--width=10",
                      "--stem=imagenet",
                      "--stem-padding=2",
                      "--stem-bias",
                      "--fc-features=13",
                      "--zero-init-residual"};
  for (const auto& [name, value] : expected.items())
    arguments.push_back("--" + name + "=" +
                        (value.is_string() ? value.get<std::string>() : value.dump()));
  expected.update({{"shuffle", false},
                   {"drop-last", false},
                   {"separate-views", true},
                   {"scale-lr", true},
                   {"nesterov", true},
                   {"decay-all", false},
                   {"bf16", true},
                   {"tf32", true},
                   {"winograd", false},
                   {"probe", false},
                   {"milestones", {1, 2, 7}},
                   {"crop-scale", {0.1, 0.5}},
                   {"crop-ratio", {1, 1.25}},
                   {"model",
                    {{"architecture", "resnet34"},
                     {"width", 10},
                     {"stem", "imagenet"},
                     {"stem-padding", 2},
                     {"stem-bias", true},
                     {"fc-features", 13},
                     {"zero-init-residual", true},
                     {"projector", {7, 9}}}}});
  CHECK(identity(parse(arguments).options) == expected);
  CHECK(identity(parse({"--probe"}).options).at("probe").get<bool>());  // for one shard
}

TEST_CASE("--resume takes the options of the run folder's own configuration") {
  const TempFolder folder;
  write_text(folder / "config.toml", parse({"--lr", "0.5", "--recipe", "solo-learn"}).config);
  const TrainOptions o = parse({"--resume", "--out", folder.path().string()}).options;
  CHECK(o.lr == 0.5);
  CHECK(o.optimizer == OptimizerName::lars);
  CHECK(o.out == folder.path().string());
  CHECK(o.steps == -1);
  // How far the call before went is not how far this one goes.
  write_text(folder / "config.toml", parse({"--steps", "7"}).config);
  CHECK(parse({"--resume", "--out", folder.path().string()}).options.steps == -1);
  CHECK(parse({"--resume", "--out", folder.path().string(), "--steps", "9"}).options.steps == 9);
  CHECK(parse({"--config", folder / "config.toml"}).options.steps == 7);
  const TrainOptions elsewhere = parse({"--resume", "--out", folder / "none"}).options;
  CHECK(elsewhere.lr == 2e-4);

  // A recipe's options would all be overruled by the file's.
  write_text(folder / "config.toml", parse({"--recipe", "solo-learn"}).config);
  CHECK_THROWS_WITH_AS(parse({"--resume", "--out", folder.path().string(), "--recipe", "fast"}),
                       doctest::Contains("--recipe fast: the run in "), gradus::Error);
  parse({"--resume", "--out", folder.path().string(), "--recipe", "solo-learn"});
}

TEST_CASE("--resume goes on in the folder that it is given by default, whatever that once was") {
  const TempFolder folder;
  const CommandOptions there{.folder = folder.path()};
  REQUIRE(run_train({"--out", "elsewhere", "--steps", "0", "--width", "2"}, there).exit_code == 0);
  std::filesystem::create_directory(folder / "runs");
  std::filesystem::rename(folder / "elsewhere", folder / "runs" / "vicreg");
  const CommandResult result = run_train({"--resume", "--print-config"}, there);
  INFO("output: ", result.output);
  CHECK(contains(result.output, "out=\"runs/vicreg\"\n"));
  CHECK(contains(result.output, "width=2\n"));
}
