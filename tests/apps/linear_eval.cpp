// The program `linear_eval`.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include <gradus/data/synthetic.h>
#include "tests/apps/programs.h"
#include "tests/support/near.h"
#include "vicreg/evaluation.h"
#include "vicreg/knn.h"
#include "vicreg/run_report.h"
#include "vicreg/whitening.h"

namespace {

using namespace gradus::test;
using nlohmann::json;
namespace fs = std::filesystem;

const Arguments tiny_data{"--dataset",    "synthetic", "--limit",   "20", "--test-limit", "23",
                          "--batch-size", "8",         "--workers", "1",  "--threads",    "1"};

/// A run of two steps whose checkpoint and exported weights the tests evaluate.
struct Trained {
  Trained() {
    const CommandResult result = train_tiny(out, {"--steps", "2", "--export", exported.string()});
    INFO("output: ", result.output);
    REQUIRE(result.exit_code == 0);
  }
  TempFolder folder;
  fs::path out = folder / "run";
  fs::path checkpoint = out / "checkpoint.safetensors";
  fs::path exported = folder / "exported.safetensors";
};

json evaluate(const fs::path& results, const Arguments& arguments) {
  const CommandResult result = run_linear_eval(tiny_data + arguments);
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(result.output, results.string()));
  json parsed = json::parse(read_text(results));
  fs::remove(results);
  return parsed;
}

void check_results(const json& part) {
  CHECK(part.at("images") == 23);
  CHECK(part.at("top1").get<double>() <= part.at("top5").get<double>());
  CHECK(part.at("top1_interval_95").at(0).get<double>() <= part.at("top1").get<double>());
  CHECK(part.at("top1_interval_95").at(1).get<double>() >= part.at("top1").get<double>());
  CHECK(part.at("classes").size() == 10);
  CHECK(part.at("class_accuracy").size() == 10);
  int images = 0, hits = 0;
  for (std::size_t c = 0; c < 10; ++c) {
    for (const json& count : part.at("confusion").at(c)) images += count.get<int>();
    hits += part.at("confusion").at(c).at(c).get<int>();
  }
  CHECK(images == 23);
  CHECK(part.at("top1").get<double>() == near(hits / 23.0));
}

}  // namespace

TEST_CASE("a checkpoint, and the file exported from it, evaluate alike") {
  const Trained trained;
  const Arguments settings{"--cached", "--epochs", "3", "--knn", "--k", "5"};
  const json first =
      evaluate(trained.out / "linear_eval.json", settings + Arguments{trained.checkpoint.string()});
  check_results(first.at("linear"));
  check_results(first.at("knn"));
  CHECK(first.at("train_images") == 20);
  CHECK(first.at("dataset") == "synthetic");
  CHECK(first.at("encoder") == trained.checkpoint.string());
  CHECK(first.at("model").at("width") == 4);
  CHECK(first.at("knn").at("k") == 5);
  CHECK(first.at("linear").at("protocol").at("epochs") == 3);

  const json second = evaluate(trained.folder / "linear_eval.json",
                               settings + Arguments{trained.exported.string()});
  CHECK(second.at("linear") == first.at("linear"));
  CHECK(second.at("knn") == first.at("knn"));
  CHECK(second.at("crops") == first.at("crops"));
}

TEST_CASE("an evaluation of a run's checkpoint goes into the run's report, and training keeps it") {
  const Trained trained;
  const Arguments settings{"--cached", "--epochs", "2", "--crops", "0"};
  const json results =
      evaluate(trained.out / "linear_eval.json", settings + Arguments{trained.checkpoint.string()});
  REQUIRE(train_tiny(trained.out, {"--steps", "3", "--resume"}).exit_code == 0);
  const json page = gradus::vicreg::read_page_run(trained.out);
  CHECK(page.at("steps").at("step").size() == 3);
  CHECK(page.at("training").contains("machine"));
  CHECK(page.at("evaluation").at("linear") == results.at("linear"));
  CHECK(page.at("evaluation").at("pictures").at("map").at("x").size() == 23);
  CHECK(page.at("evaluation").contains("time"));
  CHECK(page.at("evaluation").at("step") == 2);  // not the third, which training made since
  CHECK_FALSE(results.contains("pictures"));

  // Another file of the folder is not what the report is about.
  const fs::path other = trained.out / "other.safetensors";
  fs::copy_file(trained.exported, other);
  evaluate(trained.out / "linear_eval.json", settings + Arguments{other.string(), "--epochs", "1"});
  CHECK(gradus::vicreg::read_page_run(trained.out).at("evaluation") == page.at("evaluation"));

  // From within the folder, too, the page says where the run lies.
  const CommandResult within = run_linear_eval(
      tiny_data + settings + Arguments{"checkpoint.safetensors"}, {.folder = trained.out});
  INFO("output: ", within.output);
  REQUIRE(within.exit_code == 0);
  CHECK(gradus::vicreg::read_page_run(trained.out).at("name") == trained.out.string());

  // Elsewhere there is no report, and one that cannot be written is no error.
  evaluate(trained.folder / "linear_eval.json", settings + Arguments{trained.exported.string()});
  CHECK_FALSE(fs::exists(trained.folder / "report.html"));
  fs::remove(trained.out / "report.html");
  fs::create_directory(trained.out / "report.html");
  const CommandResult result =
      run_linear_eval(tiny_data + settings + Arguments{trained.checkpoint.string()});
  CHECK(result.exit_code == 0);
  CHECK(contains(lines_of(result.output).back(), "no report: "));
}

TEST_CASE("a new run discards the evaluation of the run that was in its folder") {
  const Trained trained;
  const Arguments settings{"--cached", "--epochs", "2", "--crops", "0"};
  const CommandResult result =
      run_linear_eval(tiny_data + settings + Arguments{trained.checkpoint.string()});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  REQUIRE(gradus::vicreg::read_page_run(trained.out).contains("evaluation"));
  const fs::path events = trained.out / "events.out.tfevents.1.host.2";
  write_text(events, "");
  std::string how = "--overwrite";
  SUBCASE("as --overwrite asks") {}
  SUBCASE("because its checkpoint is gone") {
    how = "--resume";
    fs::remove(trained.checkpoint);
  }
  REQUIRE(train_tiny(trained.out, {"--steps", "1", how}).exit_code == 0);
  CHECK_FALSE(fs::exists(events));
  CHECK_FALSE(gradus::vicreg::read_page_run(trained.out).contains("evaluation"));
  CHECK_FALSE(fs::exists(trained.out / "linear_eval.json"));
}

TEST_CASE("crops are evaluated beside the single images, and whitened features beside both") {
  const Trained trained;
  const fs::path results = trained.folder / "linear_eval.json";
  const Arguments settings{trained.exported.string(), "--cached", "--epochs", "3", "--knn"};
  const json plain = evaluate(results, settings);
  for (const char* part : {"linear", "knn"}) check_results(plain.at("crops").at(part));
  CHECK(plain.at("crops").at("views") == 16);
  CHECK(plain.at("crops").at("knn").at("k") == 20);
  CHECK(plain.at("crops").at("knn").at("temperature") == 0.07);
  CHECK(plain.at("crops").at("linear").at("protocol").at("name") == "emp-ssl");
  CHECK(plain.at("crops").at("linear").at("protocol").at("epochs") == 100);
  CHECK_FALSE(plain.contains("whitened"));

  const json whitened = evaluate(results, settings + Arguments{"--whiten", "--crops", "2"});
  CHECK(whitened.at("linear") == plain.at("linear"));
  CHECK(whitened.at("knn") == plain.at("knn"));
  CHECK(whitened.at("crops").at("views") == 2);
  for (const json& features : {whitened, whitened.at("crops")})
    for (const char* part : {"linear", "knn"}) check_results(features.at("whitened").at(part));

  CHECK_FALSE(evaluate(results, settings + Arguments{"--crops", "0"}).contains("crops"));
}

TEST_CASE("whitened features are those of the training images' whitening, of both splits") {
  const Trained trained;
  const json results =
      evaluate(trained.folder / "linear_eval.json",
               {trained.exported.string(), "--knn", "--no-linear", "--whiten", "--crops", "0",
                "--k", "3", "--features", trained.folder / "f.npy"});
  const gradus::Tensor train = read_features(trained.folder / "f_train.npy");
  const gradus::Tensor test = read_features(trained.folder / "f_test.npy");
  REQUIRE(train.shape() == gradus::Shape{20, 32});
  REQUIRE(test.shape() == gradus::Shape{23, 32});
  const auto labels = [](gradus::data::Split split, std::int64_t count) {
    return gradus::data::synthetic_dataset(count, split).labels;
  };
  const auto whiten = gradus::vicreg::fit_whitening(train);
  const auto confusion = [&](const gradus::Tensor& a, const gradus::Tensor& b) {
    const gradus::Tensor votes =
        gradus::vicreg::knn_scores(a, labels(gradus::data::Split::train, 20), b, 10, {.k = 3});
    return json(gradus::vicreg::evaluate(votes, labels(gradus::data::Split::test, 23)).confusion);
  };
  CHECK(results.at("knn").at("confusion") == confusion(train, test));
  CHECK(results.at("whitened").at("knn").at("confusion") == confusion(whiten(train), whiten(test)));
  CHECK(confusion(whiten(train), whiten(test)) != confusion(whiten(train), test));

  // The labels beside them are those of the same images.
  const auto ends_with_labels = [&](const char* name, const gradus::Tensor& expected) {
    const std::string bytes(reinterpret_cast<const char*>(expected.data<std::int64_t>()),
                            expected.bytes());
    return read_text(trained.folder / name).ends_with(bytes);
  };
  CHECK(ends_with_labels("f_train_labels.npy", labels(gradus::data::Split::train, 20)));
  CHECK(ends_with_labels("f_test_labels.npy", labels(gradus::data::Split::test, 23)));
}

TEST_CASE("what was judged stands in the results, though a later part fails") {
  const Trained trained;
  // One image has no covariance to whiten by.
  const CommandResult result =
      run_linear_eval(tiny_data + Arguments{trained.exported.string(), "--limit", "1", "--cached",
                                            "--epochs", "1", "--whiten"});
  check_refused(result, {"whitening", "two images"});
  CHECK(json::parse(read_text(trained.folder / "linear_eval.json")).contains("linear"));
}

TEST_CASE("crops are views as in training") {
  const TempFolder folder;
  const std::string weights = folder / "weights.safetensors";
  REQUIRE(train_tiny(folder / "run", {"--steps", "0", "--view-size", "16", "--crop-scale",
                                      "0.25,0.5", "--export", weights})
              .exit_code == 0);
  const CommandResult result =
      run_linear_eval(tiny_data + Arguments{weights, "--knn", "--no-linear", "--crops", "2"});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(result.output, "features of 2 crops of each of 43 images"));
  CHECK(contains(result.output, "\"view-size\":16"));
  CHECK(contains(result.output, "\"crop-scale\":[0.25,0.5]"));
}

TEST_CASE("--no-winograd computes features in plain sums") {
  const TempFolder folder;
  const auto features = [&](const Arguments& options) {
    const CommandResult result = run_linear_eval(
        tiny_data + options +
        Arguments{"--untrained", "--width", "16", "--no-linear", "--features", folder / "f.npy"});
    INFO("output: ", result.output);
    REQUIRE(result.exit_code == 0);
    return read_text(folder / "f_test.npy");
  };
  CHECK(features({"--no-winograd"}) != features({}));  // by rounding
}

TEST_CASE("without a hidden layer there are no crops to evaluate, and that is said") {
  const TempFolder folder;
  const fs::path weights = folder / "weights.safetensors";
  REQUIRE(run_train({"--steps", "0", "--width", "4", "--projector", "16", "--out", folder / "run",
                     "--export", weights})
              .exit_code == 0);
  const CommandResult result =
      run_linear_eval(tiny_data + Arguments{weights.string(), "--cached", "--epochs", "1"});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.output, "no evaluation of crops"));
  CHECK_FALSE(json::parse(read_text(folder / "linear_eval.json")).contains("crops"));
}

TEST_CASE("an untrained encoder is the one that training starts from") {
  const TempFolder folder;
  const fs::path weights = folder / "initial.safetensors";
  REQUIRE(train_tiny(folder / "run", {"--steps", "0", "--seed", "6", "--export", weights.string()})
              .exit_code == 0);
  const Arguments settings{"--cached", "--epochs", "2", "--seed", "6"};
  const json untrained =
      evaluate(folder / "a.json",
               settings + Arguments{"--untrained", "--width", "4", "--json", folder / "a.json"});
  const json loaded = evaluate(folder / "b.json",
                               settings + Arguments{weights.string(), "--json", folder / "b.json"});
  CHECK(untrained.at("encoder") == "untrained");
  CHECK(untrained.at("linear") == loaded.at("linear"));
}

TEST_CASE(
    "every protocol runs, with its own settings, on augmented images and on cached features") {
  const Trained trained;
  struct Case {
    std::string name;
    double lr, momentum;
    std::int64_t epochs;
  };
  for (const auto& [name, lr, momentum, epochs] :
       {Case{"default", 0.02, 0, 50}, Case{"vicreg", 0.02, 0.9, 100},
        Case{"solo-learn", 0.1, 0.9, 100}, Case{"emp-ssl", 0.03, 0.9, 100}}) {
    CAPTURE(name);
    const Arguments protocol{"--protocol", name, trained.exported.string()};
    const json quick =
        evaluate(trained.folder / "linear_eval.json", protocol + Arguments{"--epochs", "2"});
    CHECK(quick.at("linear").at("protocol").at("name") == name);
    CHECK(quick.at("linear").at("protocol").at("lr") == lr);
    CHECK(quick.at("linear").at("protocol").at("momentum") == momentum);
    CHECK(quick.at("linear").at("protocol").at("epochs") == 2);
    check_results(quick.at("linear"));
    const json cached =
        evaluate(trained.folder / "linear_eval.json", protocol + Arguments{"--cached"});
    CHECK(cached.at("linear").at("protocol").at("epochs") == epochs);
  }
}

TEST_CASE("linear_eval reads options from a file, its protocol and its weights among them") {
  const Trained trained;
  const fs::path config = trained.folder / "eval.toml";
  write_text(config,
             "protocol = 'solo-learn'  # with its rate\ncached = true\nepochs = 2\nfile = '" +
                 trained.exported.string() + "'\nstem-padding = 0\n");
  const Arguments from_file{"--config", config.string()};
  const json results = evaluate(trained.folder / "linear_eval.json", from_file);
  CHECK(results.at("linear").at("protocol").at("name") == "solo-learn");
  CHECK(results.at("linear").at("protocol").at("lr") == 0.1);
  CHECK(results.at("linear").at("protocol").at("epochs") == 2);
  CHECK(results.at("model").at("stem-padding") == 0);
  const json other = evaluate(trained.folder / "linear_eval.json",
                              from_file + Arguments{"--protocol", "vicreg", "--stem-padding", "2"});
  CHECK(other.at("linear").at("protocol").at("lr") == 0.02);
  CHECK(other.at("model").at("stem-padding") == 2);

  write_text(config, "\nprotocol = 'mine'\n");
  check_refused(run_linear_eval(from_file), {config.string() + ":2: ", "mine"});
}

TEST_CASE("kNN alone") {
  const Trained trained;
  const json results = evaluate(trained.folder / "linear_eval.json",
                                {trained.exported.string(), "--knn", "--no-linear"});
  CHECK_FALSE(results.contains("linear"));
  CHECK(results.at("knn").at("k") == 20);  // all images vote, where 200 are to
  check_results(results.at("knn"));
}

TEST_CASE("features alone are written, and nothing else is computed") {
  const Trained trained;
  const CommandResult result =
      run_linear_eval(tiny_data + Arguments{trained.checkpoint.string(), "--no-linear", "--whiten",
                                            "--features", trained.folder / "f.npy"});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  for (const char* part : {"f_train.npy", "f_train_labels.npy", "f_test.npy", "f_test_labels.npy"})
    CHECK(fs::exists(trained.folder / part));
  CHECK_FALSE(contains(result.output, "crops"));
  CHECK_FALSE(fs::exists(trained.out / "linear_eval.json"));
  // Where a file cannot be written, those of the call before do not stand beside the new ones.
  fs::remove(trained.folder / "f_train_labels.npy");
  fs::create_directories(trained.folder / "f_train_labels.npy" / "inside");
  CHECK(run_linear_eval(tiny_data + Arguments{trained.checkpoint.string(), "--no-linear",
                                              "--features", trained.folder / "f.npy"})
            .exit_code == 1);
  CHECK(fs::exists(trained.folder / "f_train.npy"));
  CHECK_FALSE(fs::exists(trained.folder / "f_test.npy"));
  // Of a name only .npy is no part.
  for (const char* name : {"run.1", "run.2"})
    CHECK(run_linear_eval(tiny_data + Arguments{trained.checkpoint.string(), "--no-linear",
                                                "--features", trained.folder / name})
              .exit_code == 0);
  for (const char* part : {"run.1_train.npy", "run.2_test.npy"})
    CHECK(fs::exists(trained.folder / part));
}

TEST_CASE("--bf16 computes the features in mixed precision, and the results say so") {
  const Trained trained;
  const auto features = [&](const Arguments& options, const std::string& precision) {
    const json results =
        evaluate(trained.folder / "linear_eval.json",
                 Arguments{trained.exported.string(), "--cached", "--epochs", "1", "--crops", "2",
                           "--features", trained.folder / "f.npy"} +
                     options);
    CHECK(results.at("precision") == precision);
    check_results(results.at("crops").at("linear"));
    return read_text(trained.folder / "f_test.npy");
  };
  const std::string full = features({}, "fp32");
  CHECK(features({"--bf16", "--no-bf16"}, "fp32") == full);
  CHECK(features({"--bf16"}, "bf16") != full);
  CHECK(contains(run_linear_eval(tiny_data + Arguments{trained.exported.string(), "--cached",
                                                       "--epochs", "1", "--crops", "0", "--bf16"})
                     .output,
                 " features, bf16); "));
}

TEST_CASE("a classifier that diverges is an error, and no result") {
  const Trained trained;
  check_refused(
      run_linear_eval(tiny_data + Arguments{trained.exported.string(), "--cached", "--crops", "0",
                                            "--epochs", "5", "--lr", "3e38"}),
      {"the classifier diverged in epoch ", "a lower --lr may help"});
  CHECK_FALSE(fs::exists(trained.folder / "linear_eval.json"));
}

TEST_CASE("linear_eval refuses what it cannot evaluate, in one line") {
  const Trained trained;
  const auto refused = [&](const Arguments& arguments, const std::vector<std::string>& parts) {
    CAPTURE(arguments);
    check_refused(run_linear_eval(tiny_data + arguments), parts);
  };
  const std::string file = trained.exported.string();
  refused({}, {"--untrained"});
  refused({file, "--untrained"}, {"--untrained"});
  refused({file, "--no-linear"}, {"--knn"});
  refused({trained.folder / "none"}, {"none", "no such file"});
  refused({trained.folder / "none" / "none"}, {"none/none", "no such file"});
  refused({trained.folder.path().string()}, {"not a regular file"});
  refused({file, "--protocol", "mine"}, {"--protocol", "mine"});
  refused({file, "--epochs", "0"}, {"--epochs"});
  refused({file, "--lr", "inf"}, {"--lr"});
  refused({file, "--k", "0"}, {"--k"});
  refused({file, "--crops", "-1"}, {"--crops"});
  refused({file, "--crops", "1025"}, {"--crops"});
  refused({file, "--temperature", "0"}, {"--temperature"});
  refused({file, file}, {file});
  refused({file, "--width", "8"}, {"--width", "--untrained"});
  refused({file, "--fc-features", "8"}, {"--fc-features", "--untrained"});
  refused({file, "--k", "20"}, {"--k", "--knn"});
  refused({file, "--temperature", "0.07"}, {"--temperature", "--knn"});
  refused({file, "--features", ""}, {"--features", "empty value"});
  check_refused(
      run_linear_eval({file, "--device", "cuda"}, {.environment = {"CUDA_VISIBLE_DEVICES="}}),
      {"--device cuda: ", "--device cpu"});
  refused({file, "--dataset", "cifar10", "--data", trained.folder / "nothing"}, {"nothing"});
  // Before anything is computed.
  check_refused(run_linear_eval(tiny_data + Arguments{file, "--json", trained.folder / "no" / "a"}),
                {"--json", "no/a", "there is no folder"});
  refused({file, "--features", trained.folder / "no" / "a"}, {"--features", "there is no folder"});
  refused({file, "--json", file}, {"--json", "would overwrite " + file});

  std::string bytes = read_text(file);
  bytes[bytes.size() - 100] = static_cast<char>(bytes[bytes.size() - 100] ^ 4);
  write_text(trained.exported, bytes);
  refused({file}, {file, "corrupt"});
  write_text(trained.exported, bytes.substr(0, 1000));
  refused({file}, {file, "truncated"});
  CHECK_FALSE(fs::exists(trained.folder / "linear_eval.json"));
}

TEST_CASE("linear_eval --help shows the options and their defaults") {
  const CommandResult help = run_linear_eval({"--help"});
  CHECK(help.exit_code == 0);
  for (const char* part : {"--protocol", "0.02", "--knn", "200", "--stem-padding"})
    CHECK(contains(help.output, part));
  CHECK(contains(help.output, "0: as in training"));
  CHECK(contains(run_linear_eval({"--protocol", "solo-learn", "--help"}).output, "128"));
}
