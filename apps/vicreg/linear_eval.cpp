// Evaluates a frozen encoder with a linear classifier, and with kNN: `linear_eval --help`.
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include <gradus/autograd/variable.h>
#include <gradus/tensor/io/file.h>
#include <gradus/tensor/io/npy.h>
#include <gradus/tensor/ops.h>
#include "common/command_line.h"
#include "common/compute.h"
#include "common/program.h"
#include "vicreg/architecture.h"
#include "vicreg/datasets.h"
#include "vicreg/evaluation.h"
#include "vicreg/features.h"
#include "vicreg/knn.h"
#include "vicreg/linear_probe.h"
#include "vicreg/recipes.h"
#include "vicreg/run_report.h"
#include "vicreg/weights.h"
#include "vicreg/whitening.h"

namespace gradus::vicreg {
namespace {

using apps::finite;
using apps::non_negative;
using apps::positive;
using apps::print;

struct EvalOptions {
  std::string file;
  bool untrained = false;
  nn::VICRegModel::Options model = recipe_defaults(Recipe::standard).model;
  std::optional<std::int64_t> stem_padding;  ///< of load_encoder
  DataOptions data;
  Protocol protocol;
  bool knn = false;
  bool linear = true;
  KnnOptions knn_options;
  int crops = 16;
  bool whiten = false;
  apps::ComputeOptions compute;
  int workers = 2;
  std::uint64_t seed = 0;
  std::string features;
  std::string json;
};

void add_protocol_options(CLI::App& app, Protocol& p) {
  apps::add_choice(app, "--protocol", p.name, protocol_names);
  app.add_flag("--cached", p.cached,
               "Fast: features of the plain images, computed once, without crops and flips");
  apps::add_integer(app, "--epochs", p.epochs, "Epochs", 1, most_epochs);
  apps::add_integer(app, "--batch-size", p.batch_size, "Images a step", 1);
  app.add_option("--lr", p.lr, "Learning rate")->check(positive());
  app.add_option("--momentum", p.momentum, "Momentum")
      ->check(finite())
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--weight-decay", p.weight_decay, "Weight decay")->check(non_negative());
}

/// The end of the help.
constexpr const char* manual =
    R"(Files: the results as JSON: linear_eval.json beside FILE, of --untrained
linear_eval_untrained.json in the current folder, or where --json says.

Examples:
  linear_eval runs/a/checkpoint.safetensors --data cifar10 --knn
  linear_eval runs/a/checkpoint.safetensors --data cifar10 --cached --crops 0    fast
  linear_eval --untrained --dataset synthetic --cached --protocol vicreg

Exit codes: 0 done; 1 an error, in one line on stderr.)";

void add_options(CLI::App& app, EvalOptions& o) {
  app.add_option("file", o.file,
                 "Checkpoint, exported weights, or a PyTorch state_dict (.safetensors, or "
                 "torch.save's .pt, also within a dict as model_state_dict or state_dict)")
      ->check(apps::file_name());
  app.add_flag("--untrained", o.untrained, "Evaluate an encoder with its initial weights");
  app.add_flag("--knn", o.knn, "Also classify by the nearest neighbours");
  apps::add_switch(app, "--linear,!--no-linear", o.linear, "Train a linear classifier");
  apps::add_integer(
      app, "--crops", o.crops,
      "Also evaluate as EMP-SSL: the projector's first hidden layer, its mean over N views of each "
      "image as in training (as VICReg's where the file does not say), by the protocol emp-ssl "
      "with its own settings, whatever the options below, and kNN with k 20 and temperature 0.07; "
      "0: do not",
      0, 1024);
  app.add_flag("--whiten", o.whiten, "Also classify the whitened features");
  app.add_option("--features", o.features,
                 "Write the frozen features of the plain images for numpy: NAME.npy gives "
                 "NAME_train.npy [N, F] and NAME_train_labels.npy [N], and _test likewise; with "
                 "--no-linear and without --knn that is all")
      ->check(apps::file_name());
  app.add_option("--json", o.json, "Where to write the results (default: see Files below)")
      ->check(apps::file_name());
  apps::add_integer(app, "--k", o.knn_options.k, "Neighbours of kNN", 1);
  app.add_option("--temperature", o.knn_options.temperature, "Temperature of kNN")
      ->check(positive());
  app.option_defaults()->group("Data");
  add_data_options(app, o.data);
  app.option_defaults()->group("Protocol");
  add_protocol_options(app, o.protocol);
  app.option_defaults()->group("Encoder (with --untrained; --stem-padding also of a file)");
  add_encoder_options(app, o.model.encoder);
  app.option_defaults()->group("Run");
  apps::add_compute_options(app, o.compute);
  apps::add_integer(app, "--workers", o.workers, "Threads that augment ahead; 0: none", 0, 1024);
  apps::add_integer(app, "--seed", o.seed,
                    "Of the classifier, the order, the crops, and the weights of --untrained", 0);
  app.footer(manual);
}

/// Sets the options; returns false after printing an answer (--help).
bool parse(int argc, const char* const* argv, EvalOptions& options) {
  constexpr std::int64_t not_given = -1;
  const apps::ConfigurableProgram program{
      .description = "Evaluates a frozen encoder: linear classifier and k nearest neighbours.",
      .name = "linear_eval",
      .preset = "protocol",
      .add_options = [&](CLI::App& app, const std::string& protocol) {
        options = {};
        options.model.encoder.stem_padding = not_given;
        options.protocol = named_protocol(
            apps::find_choice(protocol_names, protocol).value_or(ProtocolName::standard));
        add_options(app, options);
        app.get_option("--stem-padding")->default_str("the file's, or 1");
        app.get_option("--image-size")
            ->description(
                "Pixels a side to which the centred square of each image is resized when it is "
                "read; 0: as in training, or as the images are");
      }};
  if (!apps::parse_command_line(program, argc, argv)) return false;
  std::int64_t& stem_padding = options.model.encoder.stem_padding;
  if (stem_padding == not_given) {
    stem_padding = nn::ResNet::Options().stem_padding;
  } else {
    options.stem_padding = stem_padding;
  }
  return true;
}

std::filesystem::path results_file(const EvalOptions& o) {
  if (!o.json.empty()) return o.json;
  if (o.untrained) return "linear_eval_untrained.json";
  return std::filesystem::path(o.file).parent_path() / results_name;
}

/// Writes arrays by name: with FEATURES.npy as `file`, "train" goes to FEATURES_train.npy. The
/// files of an earlier call go first: a call cut short leaves an incomplete set, not a mixed one.
void write_features(const std::filesystem::path& file,
                    const std::vector<std::pair<std::string, Tensor>>& arrays) {
  const std::filesystem::path stem = file.extension() == ".npy" ? file.stem() : file.filename();
  const auto place = [&](const std::string& what) {
    return file.parent_path() / fmt::format("{}_{}.npy", stem.string(), what);
  };
  for (const auto& [what, x] : arrays) {
    std::error_code error;  // what cannot be removed cannot be written either, which is said there
    std::filesystem::remove(place(what), error);
  }
  for (const auto& [what, x] : arrays) {
    write_npy(place(what), x);
    print("{}: {} {}\n", place(what).string(), gradus::name(x.dtype()), x.shape());
  }
}

/// Frozen features, and how they are classified.
struct Subject {
  std::string name{};      ///< stands before its lines
  Tensor train{}, test{};  ///< [N, F]; `train` may be undefined where nothing reads it
  Protocol protocol;
  KnnOptions knn;
};

/// Evaluates features of these images, and says and returns how well they do.
class Judge {
 public:
  Judge(const EvalOptions& options, nn::ResNet& encoder, const data::Dataset& train,
        const data::Dataset& test)
      : o_(options), encoder_(encoder), train_(train), test_(test) {}

  /// What the results hold of the subject: "linear" and "knn", as the options say. `scores`, if
  /// given, receives those of the first of them, [M, classes].
  nlohmann::json operator()(const Subject& subject, bool confusion,
                            Tensor* scores = nullptr) const {
    nlohmann::json results = nlohmann::json::object();
    const auto text = [&](const Evaluation& e) {
      return confusion ? to_text(e, test_.class_names) : headline(e);
    };
    if (o_.linear) {
      const Protocol& protocol = subject.protocol;
      const Tensor logits = run_linear(subject);
      if (scores) *scores = logits;
      const Evaluation linear = evaluate(logits, test_.labels);
      print("{}linear ({} protocol{}): {}", subject.name,
            apps::name_of(protocol_names, protocol.name),
            protocol.cached ? ", cached features" : "", text(linear));
      results["linear"] = to_json(linear, test_.class_names);
      results["linear"]["protocol"] = to_json(protocol);
    }
    if (o_.knn) {
      const Tensor votes =
          knn_scores(subject.train, train_.labels, subject.test,
                     static_cast<std::int64_t>(train_.class_names.size()), subject.knn);
      if (scores && !o_.linear) *scores = votes;
      const Evaluation knn = evaluate(votes, test_.labels);
      const std::int64_t k = std::min(subject.knn.k, train_.size());
      print("{}kNN (k {}, temperature {}): {}", subject.name, k, subject.knn.temperature,
            text(knn));
      results["knn"] = to_json(knn, test_.class_names);
      results["knn"]["k"] = k;
      results["knn"]["temperature"] = subject.knn.temperature;
    }
    return results;
  }

  /// The same of the whitened features.
  nlohmann::json whitened(Subject subject) const {
    const Whitening whiten = fit_whitening(subject.train);
    subject.name = "whitened " + subject.name;
    subject.train = whiten(subject.train);
    subject.test = whiten(subject.test);
    subject.protocol.cached = true;
    return (*this)(subject, false);
  }

 private:
  /// The trained classifier's scores of the test images.
  Tensor run_linear(const Subject& subject) const {
    const Protocol& protocol = subject.protocol;
    print("training a linear classifier on {} images: protocol {}\n", train_.size(),
          to_json(protocol).dump());
    const std::int64_t every = std::max<std::int64_t>(1, protocol.epochs / 5);
    const auto say = [&](std::int64_t epoch, double loss) {
      if (epoch % every == 0 || !protocol.cached)
        print("epoch {}/{}: loss {:.4f}\n", epoch, protocol.epochs, loss);
      std::fflush(stdout);
    };
    const auto head = train_linear_probe(encoder_, train_, subject.train, protocol, o_.workers,
                                         o_.seed, say, o_.compute.activation_dtype());
    const NoGrad no_grad;
    const Tensor logits = (*head)(Variable(subject.test)).value().to(Device::cpu);
    check(all_finite(logits), "linear_eval",
          "the classifier diverged in epoch {}: its scores are not finite; a lower --lr may help",
          protocol.epochs);
    return logits;
  }

  const EvalOptions& o_;
  nn::ResNet& encoder_;
  const data::Dataset& train_;
  const data::Dataset& test_;
};

/// The features of crops, as EMP-SSL's program evaluates them; nothing where there are none.
std::optional<Subject> subject_of_crops(const EvalOptions& o, LoadedEncoder& loaded,
                                        const data::Dataset& train, const data::Dataset& test) {
  if (o.crops == 0) return std::nullopt;
  if (!loaded.projector || loaded.projector->hidden.empty()) {
    print("without a projector that has a hidden layer there is no evaluation of crops\n");
    return std::nullopt;
  }
  loaded.projector->to(loaded.encoder->device());
  ViewOptions views = loaded.views;
  views.count = o.crops;
  print("features of {} crops of each of {} images: {}\n", o.crops, train.size() + test.size(),
        to_json(views).dump());
  std::fflush(stdout);
  const auto features = [&](const data::Dataset& dataset) {
    return extract_view_features(*loaded.encoder, *loaded.projector, dataset, views, o.seed,
                                 o.workers, o.compute.activation_dtype());
  };
  return Subject{.name = fmt::format("{} crops: ", o.crops),
                 .train = features(train),
                 .test = features(test),
                 .protocol = named_protocol(ProtocolName::emp_ssl),
                 .knn = {.k = 20, .temperature = 0.07}};
}

struct Images {
  data::Dataset train{}, test{};
};

/// The images to evaluate on: of the size that the encoder was trained on unless the options name
/// one, and normalised as then, or else as the training images say.
Images load_labelled(const EvalOptions& o, const LoadedEncoder& loaded) {
  DataOptions options = o.data;
  if (options.image_size == 0) options.image_size = loaded.image_size;
  Images images{.train = load_training_set(options)};
  check(images.train.is_labelled(), "linear_eval",
        "the images in {} have no labels, and an evaluation needs them: put each into a folder "
        "named after its class",
        o.data.folder);
  if (loaded.images.count > 0) images.train.normalization = loaded.images.normalization;
  images.test = load_test_set(options, images.train.normalization);
  return images;
}

/// Adds to the results what is judged of the images' features and, as the options say, of crops;
/// the file is written after each part, lest what fails or is stopped take with it what was done
/// before. Returns the scores of the images.
Tensor judge_all(const EvalOptions& o, LoadedEncoder& loaded, const Subject& images,
                 const data::Dataset& train, const data::Dataset& test, nlohmann::json& results) {
  const Judge judge(o, *loaded.encoder, train, test);
  const auto save = [&] {
    write_file_atomically(
        results_file(o),
        results.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  };
  Tensor scores;
  results.update(judge(images, true, &scores));
  save();
  if (o.whiten) {
    results["whitened"] = judge.whitened(images);
    save();
  }
  if (const auto crops = subject_of_crops(o, loaded, train, test)) {
    results["crops"] = judge(*crops, false);
    results["crops"]["views"] = o.crops;
    save();
    if (o.whiten) {
      results["crops"]["whitened"] = judge.whitened(*crops);
      save();
    }
  }
  return scores;
}

/// Where the run folder can only be read, that is said, and all.
void add_to_report(const std::filesystem::path& folder, nlohmann::json evaluation) {
  try {
    nlohmann::json run = describe_run(folder);
    evaluation["time"] = run["updated"];
    run["evaluation"] = std::move(evaluation);
    write_run_report(folder, std::move(run));
    print("report: {}\n", (folder / report_name).string());
  } catch (const Error& error) {
    print("no report: {}\n", error.what());
  }
}

void check_consistency(const EvalOptions& o) {
  check(o.untrained != !o.file.empty(), "linear_eval",
        "name one file of weights, or give --untrained (--help lists the options)");
  EvalOptions usual;
  usual.model.encoder.stem_padding = o.model.encoder.stem_padding;
  check(o.untrained || to_json(o.model) == to_json(usual.model), "linear_eval",
        "the file says what its encoder is; --arch, --width, --stem, --stem-bias and --fc-features "
        "are for --untrained");
  check(o.knn || (o.knn_options.k == usual.knn_options.k &&
                  o.knn_options.temperature == usual.knn_options.temperature),
        "linear_eval", "--k and --temperature are for --knn");
  check(o.linear || o.knn || !o.features.empty(), "linear_eval",
        "--no-linear without --knn or --features leaves nothing to do");
}

int run(const EvalOptions& o) {
  check_consistency(o);
  const Device device = apps::use(o.compute);
  LoadedEncoder loaded =
      o.untrained ? untrained_encoder(o.model, o.seed) : load_encoder(o.file, o.stem_padding);
  if (o.linear || o.knn) {
    apps::check_output_file("linear_eval", "--json", results_file(o));
    if (!o.untrained) apps::check_not_input("linear_eval", "--json", results_file(o), o.file);
  }
  if (!o.features.empty()) apps::check_output_file("linear_eval", "--features", o.features);
  loaded.encoder->to(device);
  nn::use_winograd(*loaded.encoder, o.compute.winograd);
  const std::string precision = apps::precision_text(o.compute, device);
  const auto [train, test] = load_labelled(o, loaded);
  print("encoder: {} ({}, {} features, {}); {}\n", o.untrained ? "untrained" : o.file,
        architecture_name(loaded.options.encoder), loaded.encoder->feature_count(), precision,
        describe(o.data, train));
  const auto features = [&](const data::Dataset& dataset) {
    return extract_features(*loaded.encoder, dataset, o.compute.activation_dtype());
  };
  Subject images{.test = features(test), .protocol = o.protocol, .knn = o.knn_options};
  std::filesystem::path folder = std::filesystem::path(o.file).parent_path();
  if (folder.empty()) folder = std::filesystem::current_path();
  // Of a run folder's files only the checkpoint is what the run's report is about.
  const bool report = !o.untrained && std::filesystem::path(o.file).filename() == checkpoint_name &&
                      std::filesystem::exists(folder / metrics_name);
  if (o.knn || o.whiten || o.protocol.cached || !o.features.empty() || report)
    images.train = features(train);
  if (!o.features.empty())
    write_features(o.features, {{"train", images.train},
                                {"train_labels", train.labels},
                                {"test", images.test},
                                {"test_labels", test.labels}});
  if (!o.linear && !o.knn) return 0;  // the features alone are wanted

  nlohmann::json results = {{"encoder", o.untrained ? "untrained" : o.file},
                            {"model", to_json(loaded.options)},
                            {"dataset", apps::name_of(dataset_names, o.data.dataset)},
                            {"train_images", train.size()},
                            {"precision", precision}};
  if (loaded.step) results["step"] = *loaded.step;
  const Tensor scores = judge_all(o, loaded, images, train, test, results);
  print("results: {}\n", results_file(o).string());
  if (report) {
    results["pictures"] = evaluation_pictures(train, test, images.train, images.test, scores);
    add_to_report(folder, std::move(results));
  }
  return 0;
}

}  // namespace
}  // namespace gradus::vicreg

int main(int argc, char** argv) {
  using namespace gradus;
  return apps::run_program("linear_eval", argv, [&] {
    apps::ignore_closed_output();
    vicreg::EvalOptions options;
    return vicreg::parse(argc, argv, options) ? vicreg::run(options) : 0;
  });
}
