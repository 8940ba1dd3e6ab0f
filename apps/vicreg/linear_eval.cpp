// Evaluates a frozen encoder with a linear classifier, and with kNN: `linear_eval --help`.
#include <cstdio>
#include <filesystem>
#include <optional>

#include <gradus/autograd/variable.h>
#include <gradus/tensor/io/file.h>
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
#include "vicreg/weights.h"

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
  std::int64_t test_limit = 0;
  Protocol protocol;
  bool knn = false;
  bool linear = true;
  KnnOptions knn_options;
  apps::ComputeOptions compute;
  int workers = 2;
  std::uint64_t seed = 0;
  std::string json;
};

void add_protocol_options(CLI::App& app, Protocol& p) {
  const std::string group = "Protocol";
  apps::add_choice(app, "--protocol", p.name, protocol_names)->group(group);
  app.add_flag("--cached", p.cached,
               "Fast: features of the plain images, computed once, without crops and flips")
      ->group(group);
  app.add_option("--epochs", p.epochs, "Epochs")
      ->check(CLI::Range(std::int64_t{1}, most_epochs))
      ->group(group);
  app.add_option("--batch-size", p.batch_size, "Images a step")->check(positive())->group(group);
  app.add_option("--lr", p.lr, "Learning rate")->check(positive())->group(group);
  app.add_option("--momentum", p.momentum, "Momentum")
      ->check(finite())
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  app.add_option("--weight-decay", p.weight_decay, "Weight decay")
      ->check(non_negative())
      ->group(group);
}

void add_options(CLI::App& app, EvalOptions& o) {
  app.add_option("file", o.file,
                 "Checkpoint, exported weights, or a PyTorch state_dict (.safetensors)");
  app.add_flag("--untrained", o.untrained, "Evaluate an encoder with its initial weights");
  app.add_flag("--knn", o.knn, "Also classify by the nearest neighbours");
  app.add_flag("!--no-linear", o.linear, "Leave the linear classifier out");
  app.add_option("--json", o.json, "Where to write the results (default: beside FILE)");
  app.add_option("--k", o.knn_options.k, "Neighbours of kNN")->check(positive());
  app.add_option("--temperature", o.knn_options.temperature, "Temperature of kNN")
      ->check(positive());
  add_data_options(app, o.data, "Data");
  app.add_option("--test-limit", o.test_limit, "Use the first N test images; 0: all")
      ->check(non_negative())
      ->group("Data");
  add_protocol_options(app, o.protocol);
  add_encoder_options(app, o.model.encoder, "Encoder (with --untrained)");
  apps::add_compute_options(app, o.compute, "Run");
  app.add_option("--workers", o.workers, "Threads that augment ahead; 0: none")
      ->check(CLI::Range(0, 1024))
      ->group("Run");
  app.add_option("--seed", o.seed, "Of the classifier, the order and the crops")
      ->check(non_negative())
      ->group("Run");
}

/// Sets the options; returns false after printing the help.
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
  return std::filesystem::path(o.file).parent_path() / "linear_eval.json";
}

Evaluation run_linear(nn::ResNet& encoder, const EvalOptions& o, const data::Dataset& train,
                      const Tensor& train_features, const data::Dataset& test,
                      const Tensor& test_features) {
  print("training a linear classifier on {} images: protocol {}\n", train.size(),
        to_json(o.protocol).dump());
  const std::int64_t every = std::max<std::int64_t>(1, o.protocol.epochs / 5);
  const auto head =
      train_linear_probe(encoder, train, train_features, o.protocol, o.workers, o.seed,
                         [&](std::int64_t epoch, double loss) {
                           if (epoch % every == 0 || !o.protocol.cached)
                             print("epoch {}/{}: loss {:.4f}\n", epoch, o.protocol.epochs, loss);
                           std::fflush(stdout);
                           return true;
                         });
  const NoGrad no_grad;
  return evaluate((*head)(Variable(test_features)).value().to(Device::cpu), test.labels);
}

int run(const EvalOptions& o) {
  check(o.untrained != !o.file.empty(), "linear_eval",
        "name one file of weights, or give --untrained (--help lists the options)");
  check(o.linear || o.knn, "linear_eval", "--no-linear without --knn leaves nothing to do");
  const Device device = apps::use(o.compute);
  LoadedEncoder loaded =
      o.untrained ? untrained_encoder(o.model, o.seed) : load_encoder(o.file, o.stem_padding);
  loaded.encoder->to(device);
  nn::use_winograd(*loaded.encoder, o.compute.winograd);
  const std::string dataset = apps::name_of(dataset_names, o.data.dataset);
  const data::Dataset train = load_dataset(o.data, data::Split::train, o.data.limit);
  const data::Dataset test = load_dataset(o.data, data::Split::test, o.test_limit);
  print("encoder: {} ({}, {} features), {}; test images are normalised\n",
        o.untrained ? "untrained" : o.file, architecture_name(loaded.options.encoder),
        loaded.encoder->feature_count(), dataset);
  const Tensor test_features = extract_features(*loaded.encoder, test);
  const bool need_train_features = o.knn || (o.linear && o.protocol.cached);
  const Tensor train_features =
      need_train_features ? extract_features(*loaded.encoder, train) : Tensor();

  nlohmann::json results = {{"encoder", o.untrained ? "untrained" : o.file},
                            {"model", to_json(loaded.options)},
                            {"dataset", dataset},
                            {"train_images", train.size()}};
  if (o.linear) {
    const Evaluation linear =
        run_linear(*loaded.encoder, o, train, train_features, test, test_features);
    print("linear ({} protocol{}): {}", apps::name_of(protocol_names, o.protocol.name),
          o.protocol.cached ? ", cached features" : "", to_text(linear, test.class_names));
    results["linear"] = to_json(linear, test.class_names);
    results["linear"]["protocol"] = to_json(o.protocol);
  }
  if (o.knn) {
    const Evaluation knn =
        evaluate(knn_scores(train_features, train.labels, test_features,
                            static_cast<std::int64_t>(train.class_names.size()), o.knn_options),
                 test.labels);
    print("kNN (k {}, temperature {}): {}", o.knn_options.k, o.knn_options.temperature,
          to_text(knn, test.class_names));
    results["knn"] = to_json(knn, test.class_names);
    results["knn"]["k"] = o.knn_options.k;
    results["knn"]["temperature"] = o.knn_options.temperature;
  }
  write_file_atomically(results_file(o), results.dump(2) + "\n");
  print("results: {}\n", results_file(o).string());
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
