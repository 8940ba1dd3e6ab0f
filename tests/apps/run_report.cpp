#include "vicreg/run_report.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include <gradus/data/synthetic.h>
#include <gradus/tensor/ops.h>
#include <gradus/tensor/random.h>
#include "tests/apps/programs.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::vicreg;
using namespace gradus::test;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

Metrics example_metrics(std::int64_t steps, std::int64_t epochs) {
  Metrics metrics;
  for (std::int64_t s = 1; s <= steps; ++s)
    metrics.steps.push_back(
        {.step = s,
         .epoch = 1,
         .learning_rate = 1e-3,
         .loss = {.total = double(s), .invariance = 0.3, .variance = 0.5, .covariance = 1.5},
         .images = 256,
         .images_per_second = 256,
         .data_wait_share = 0.25});
  for (std::int64_t e = 1; e <= epochs; ++e)
    metrics.epochs.push_back(
        {.epoch = e,
         .embeddings = 512,
         .health = {.std_mean = 0.9, .std_min = 0.5, .effective_rank = 100.0 + double(e)}});
  return metrics;
}

json described(const Metrics& metrics, const TrainOptions& options = {}) {
  return describe_run("runs/a", "lr=0.1\n", options, metrics);
}

/// The data in a page, as a browser reads it: up to the first end of a script.
json data_of(const std::string& page) {
  const std::string begin = "<script id=\"data\" type=\"application/json\">";
  const std::size_t first = page.find(begin) + begin.size();
  return json::parse(page.substr(first, page.find("</script>", first) - first));
}

/// A run folder with that configuration and that text of metrics.
void make_run(const fs::path& folder, const std::string& config, const std::string& metrics) {
  fs::create_directories(folder);
  write_text(folder / "config.toml", config);
  write_text(folder / "metrics.jsonl", metrics);
}

CommandResult run_report(const Arguments& arguments, const CommandOptions& options = {}) {
  return run_command(file_path("apps/vicreg/report"), arguments, options);
}

}  // namespace

TEST_CASE("a page's data: nothing in it is HTML, whatever a path or a class is called") {
  for (const std::string name :
       {"</script><script>alert(1)</script>", "<!--<script>", "\"quoted\" \\ & ' \n\t", "{{data}}",
        "\xe2\x80\xa8 caf\xc3\xa9", ""}) {
    CAPTURE(name);
    const std::string page = make_page({{"runs", json::array({{{"name", name}}})}});
    CHECK(data_of(page).at("runs").at(0).at("name") == name);
    CHECK(page.ends_with("</html>\n"));
  }
  CHECK(data_of(make_page({{"name", "\xff\xfe"}})).at("name") ==
        "\xef\xbf\xbd\xef\xbf\xbd");  // no UTF-8
}

TEST_CASE("a page is whole: no placeholder is left, and it names no other file") {
  const std::string page = make_page({{"runs", json::array()}});
  CHECK_FALSE(contains(page, "{{data}}"));
  for (const char* part : {"@style@", "@charts@", "@sections@", "src=", "href=\"http", "@import"})
    CHECK_FALSE(contains(page, part));
  CHECK(page.size() < 60'000);
}

TEST_CASE("curves of a short run are its records") {
  const json run = described(example_metrics(3, 2));
  const json& steps = run.at("steps");
  CHECK(steps.at("step") == json{1, 2, 3});
  CHECK(steps.at("loss").at("mean") == json{1, 2, 3});
  CHECK_FALSE(steps.at("loss").contains("low"));
  CHECK(steps.at("lr").at("mean") == json{1e-3, 1e-3, 1e-3});
  CHECK(steps.at("terms").size() == 4);
  CHECK(steps.at("terms").at(1) == json{{"key", "invariance"}, {"title", "Invariance"}});
  CHECK(run.at("epoch_values").at("epoch") == json{1, 2});
  CHECK(run.at("epoch_values").at("effective_rank") == json{101, 102});
  CHECK(run.at("seconds") == 3);  // 256 images a step, at 256 images/s
  CHECK(run.at("steps_done") == 3);
  CHECK_FALSE(steps.contains("probe_train"));
  Metrics probed = example_metrics(2, 0);
  probed.steps[1].probe_train = 0.25;
  CHECK(described(probed).at("steps").at("probe_train").at("mean") == json{nullptr, 0.25});
}

TEST_CASE("curves of a long run are means over spans, with the range") {
  const json run = described(example_metrics(195'000, 500));
  const json& loss = run.at("steps").at("loss");
  CHECK(loss.at("mean").size() == 1000);
  CHECK(loss.at("low").at(0) == 1);
  CHECK(loss.at("high").at(0) == 195);
  CHECK(loss.at("mean").at(0) == 98);
  CHECK(loss.at("high").at(999) == 195'000);
  CHECK(run.at("steps").at("step").at(0) == 98);
  CHECK(run.at("steps").at("step").at(999) == 194'903);
  CHECK(run.at("steps_done") == 195'000);
  CHECK(make_page({{"runs", json::array({run})}}).size() < 400'000);
}

TEST_CASE("curves of nothing, of one step, and of numbers that are not finite") {
  const json nothing = described({});
  CHECK(nothing.at("steps").at("loss").at("mean") == json::array());
  CHECK(nothing.at("epoch_values") == json::object());
  CHECK(nothing.at("health").at("verdict") == "unknown");
  CHECK(nothing.at("seconds") == 0);
  CHECK(described(example_metrics(1, 0)).at("steps").at("loss").at("mean") == json{1});

  Metrics metrics = example_metrics(2, 2);
  metrics.steps[0].loss.total = std::numeric_limits<double>::quiet_NaN();
  metrics.steps[1].images_per_second = std::numeric_limits<double>::infinity();
  metrics.epochs[0].health.std_mean = std::numeric_limits<double>::quiet_NaN();
  const json run = described(metrics);
  CHECK(run.at("steps").at("loss").at("mean") == json{nullptr, 2});
  CHECK(run.at("steps").at("images_per_second").at("mean") == json{256, nullptr});
  CHECK(run.at("epoch_values").at("std_mean") == json{nullptr, 0.9});

  Metrics tiny = example_metrics(1, 0);
  tiny.steps[0].learning_rate = 1e-310;
  CHECK(described(tiny).at("steps").at("lr").at("mean").at(0) == 1e-310);

  Metrics many = example_metrics(4000, 0);  // of four records in a span one is not finite
  many.steps[1].loss.total = std::numeric_limits<double>::quiet_NaN();
  const json loss = described(many).at("steps").at("loss");
  CHECK(loss.at("mean").at(0).get<double>() == doctest::Approx((1 + 3 + 4) / 3.0).epsilon(1e-4));
  CHECK(loss.at("low").at(0) == 1);
  CHECK(loss.at("high").at(0) == 4);
}

TEST_CASE("an epoch's accuracy stands in its place, with null where it was not measured") {
  Metrics metrics = example_metrics(1, 3);
  metrics.accuracies = {{.epoch = 2, .knn_accuracy = 0.5}};
  CHECK(described(metrics).at("epoch_values").at("knn_accuracy") == json{nullptr, 0.5, nullptr});
}

TEST_CASE("the terms are those of the loss that is trained") {
  Metrics metrics = example_metrics(1, 0);
  metrics.steps[0].loss = {
      .name = LossName::coding_rate, .total = -9, .similarity = 0.9, .coding_rate = 9};
  TrainOptions options;
  options.loss = LossName::coding_rate;
  const json steps = described(metrics, options).at("steps");
  CHECK(steps.at("coding_rate").at("mean") == json{9});
  CHECK_FALSE(steps.contains("variance"));
  CHECK(described({}, options).at("steps").contains("coding_rate"));  // before the first step, too
}

TEST_CASE("time and verdict of a batch that is not full") {
  Metrics metrics = example_metrics(2, 1);
  metrics.steps[1].images = 4;
  metrics.steps[1].images_per_second = 2;
  metrics.epochs[0].embeddings = 8;
  metrics.epochs[0].health.effective_rank = 7.8;
  const json run = described(metrics);
  CHECK(run.at("seconds") == 1 + 2);
  CHECK(run.at("health").at("most_rank") == 8);
  CHECK(run.at("health").at("verdict") == "healthy");
}

TEST_CASE("the verdict in words: healthy, or the warning of training") {
  Metrics metrics = example_metrics(1, 1);
  json health = described(metrics).at("health");
  CHECK(health.at("verdict") == "healthy");
  CHECK(contains(health.at("text"), "no sign of a collapse"));
  CHECK(health.at("std") == 0.05);
  CHECK(health.at("rank").get<double>() == doctest::Approx(511 / 200.0));
  CHECK(health.at("most_rank") == 512);
  metrics.epochs[0].health.effective_rank = 20;  // of 512
  health = described(metrics).at("health");
  CHECK(health.at("verdict") == "doubtful");
  CHECK(contains(health.at("text"), "few of the directions"));
  metrics.epochs[0].health.std_mean = 0.01;
  health = described(metrics).at("health");
  CHECK(health.at("verdict") == "warning");
  CHECK(contains(health.at("text"), "nearly the same point"));
  metrics.epochs[0].health.effective_rank = std::numeric_limits<double>::quiet_NaN();
  CHECK(contains(described(metrics).at("health").at("text"), "not finite"));
}

TEST_CASE("the commands can be pasted into a shell") {
  TrainOptions options;
  options.data.folder = "my data";
  const json commands = describe_run("runs/it's", "", options, {}).at("commands");
  CHECK(commands.at(0).at("text") == "build/apps/vicreg/train --out 'runs/it'\\''s' --resume");
  CHECK(contains(commands.at(1).at("text"), "--dataset cifar10 --data 'my data'"));
}

TEST_CASE("what a program put on the page stays when another one renews it") {
  const TempFolder folder;
  const fs::path out = folder.path();
  const json one{{"number", 1}}, two{{"number", 2}}, three{{"number", 3}};
  write_run_report(out, {{"name", "a"}, {"training", one}});
  write_run_report(out, {{"name", "b"}, {"evaluation", two}});
  CHECK(read_page_run(out) == json{{"name", "b"}, {"training", one}, {"evaluation", two}});
  write_run_report(out, {{"name", "c"}, {"training", three}});
  CHECK(read_page_run(out) == json{{"name", "c"}, {"training", three}, {"evaluation", two}});
  CHECK(count_files(out) == 1);

  for (const std::string damaged :
       {"", "not a page", "<script id=\"data\" type=\"application/json\">{\"runs\":[",
        "<script id=\"data\" type=\"application/json\">[]</script>",
        "<script id=\"data\" type=\"application/json\">{\"runs\":[3]}</script>"}) {
    CAPTURE(damaged);
    write_text(out / "report.html", damaged);
    CHECK(read_page_run(out) == json::object());
    write_run_report(out, {{"name", "d"}});
    CHECK(read_page_run(out) == json{{"name", "d"}});
  }
}

TEST_CASE("a report that cannot be written is one error, and the old one stays") {
  const TempFolder folder;
  CHECK(contains(error_of([&] {
                   write_run_report(folder / "none", {{"name", "a"}});
                 }),
                 "report.html"));
}

TEST_CASE("the pictures of training: images over their views, as that epoch draws them") {
  const data::Dataset train = data::synthetic_dataset(10, data::Split::train);
  TrainOptions options;
  const json pictures = training_pictures(train, options, 3);
  CHECK(pictures.at("images") == 8);
  CHECK(pictures.at("views") == 2);
  CHECK(pictures.at("epoch") == 4);
  CHECK(pictures.at("image_size") == json{32, 32});
  CHECK(pictures.at("labels").size() == 8);
  CHECK(pictures.at("labels").at(7) == train.class_names.at(7));
  CHECK(training_pictures(train, options, 3) == pictures);
  CHECK(training_pictures(train, options, 4).at("sheet") != pictures.at("sheet"));

  options.views = {.count = 3, .augment = Augmentation::none};  // each view is the image
  PictureSheet expected(32, 8);
  for (int row = 0; row < 1 + 3; ++row) expected.add(train.images.slice(0, 8));
  CHECK(view_sheet(train, options, 0).to_json() == expected.to_json());
}

TEST_CASE("the pictures of an evaluation: a map, neighbours and mistakes") {
  const data::Dataset train = data::synthetic_dataset(50, data::Split::train);
  const data::Dataset test = data::synthetic_dataset(30, data::Split::test);
  // Features that are the classes, but for the last test images: an 8 is taken for a 5, and a 9, by
  // a larger lead, for a 3.
  Tensor scores = one_hot(test.labels, 10, {DType::float32, Device::cpu});
  scores.data<float>()[28 * 10 + 5] = 2;
  scores.data<float>()[29 * 10 + 3] = 5;
  const json result = evaluation_pictures(
      train, test, one_hot(train.labels, 10, {DType::float32, Device::cpu}), scores, scores);
  const json& map = result.at("map");
  for (const char* key : {"x", "y", "labels", "predicted"}) CHECK(map.at(key).size() == 30);
  CHECK(result.at("classes").size() == 10);
  int wrong = 0;
  for (std::size_t i = 0; i < 30; ++i) wrong += map.at("labels").at(i) != map.at("predicted").at(i);
  CHECK(wrong == 2);
  REQUIRE(result.at("mistakes").size() == 2);
  CHECK(result.at("mistakes").at(0).at("label") == 9);
  CHECK(result.at("mistakes").at(0).at("predicted") == 3);
  CHECK(result.at("mistakes").at(1).at("label") == 8);
  CHECK(result.at("mistakes").at(1).at("predicted") == 5);
  REQUIRE(result.at("neighbours").size() == 20);
  for (std::size_t i = 0; i < 20; ++i) {
    const json& row = result.at("neighbours").at(i);
    CHECK(row.size() == 6);
    CHECK(row.at(0).at("label") == map.at("predicted").at(i));
    CHECK(row.at(0).at("similarity") >= row.at(5).at("similarity"));
  }
  CHECK(result.at("mistakes").at(0).at("picture") == 30 + 20 * 6);  // after all others
}

TEST_CASE("the page of a long run of noisy images stays below 5 MB") {
  data::Dataset test = data::synthetic_dataset(1200, data::Split::test);
  Generator generator(1);
  const std::vector<float> noise =
      uniform({1200 * 32 * 32 * 3}, 0, 256, generator).to_vector<float>();
  test.images =
      from_vector(std::vector<std::uint8_t>(noise.begin(), noise.end()), {1200, 32, 32, 3});
  const Tensor features = normal({1200, 4}, 0, 1, generator);
  const Tensor scores = normal({1200, 10}, 0, 1, generator);
  json run = described(example_metrics(195'000, 500));
  run["evaluation"] = {{"pictures", evaluation_pictures(test, test, features, features, scores)}};
  const std::size_t bytes = make_page({{"runs", json::array({run})}}).size();
  MESSAGE("bytes: ", bytes);
  CHECK(bytes < 4'200'000);  // and 72 views of 64 x 64 pixels, at most 0.8 MB
}

TEST_CASE("report: the page of a run of an older version, without what it did not record") {
  const TempFolder folder;
  make_run(folder / "old", "batch-size = 64\n",
           "{\"step\":1,\"epoch\":1,\"loss\":3.5}\n{\"step\":1,\"epoch\":1,\"std_mean\":0.5}\n{"
           "\"step\":2,");
  const CommandResult result = run_report({folder / "old"});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(result.output == (folder / "old" / "report.html").string() + "\n");
  const json run = read_page_run(folder / "old");
  CHECK(run.at("steps").at("loss").at("mean") == json{3.5});
  CHECK(run.at("steps").at("lr").at("mean") == json{nullptr});
  CHECK(run.at("epoch_values").at("effective_rank") == json{nullptr});
  CHECK(contains(run.at("config"), "batch-size=64"));
  CHECK_FALSE(run.contains("training"));
}

TEST_CASE("report: runs on one page, with their evaluations but without pictures") {
  const TempFolder folder;
  make_run(folder / "a", "", "{\"step\":1,\"epoch\":1,\"loss\":1}\n");
  make_run(folder / "b", "loss = 'coding-rate'\n",
           "{\"step\":1,\"epoch\":1,\"loss\":-1,\"coding_rate\":2}\n");
  json run = describe_run(folder / "a");
  run["evaluation"] = {{"linear", {{"top1", 0.5}}}, {"pictures", "many"}};
  write_run_report(folder / "a", run);
  const CommandResult result = run_report({folder / "a", folder / "b"}, {.folder = folder.path()});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  const json runs = data_of(read_text(folder / "comparison.html")).at("runs");
  REQUIRE(runs.size() == 2);
  CHECK(runs.at(0).at("evaluation") == json{{"linear", {{"top1", 0.5}}}});
  CHECK(runs.at(0).at("steps").contains("variance"));
  CHECK(runs.at(1).at("steps").contains("coding_rate"));
  CHECK(runs.at(1).at("name") == (folder / "b").string());

  // One run elsewhere keeps all that its own page has.
  REQUIRE(run_report({folder / "a", "--out", folder / "one.html"}).exit_code == 0);
  const json one = data_of(read_text(folder / "one.html")).at("runs").at(0);
  CHECK(one.at("evaluation").at("pictures") == "many");
}

TEST_CASE("report: what is no run is refused in one line") {
  const TempFolder folder;
  check_refused(run_report({}), {"runs"});
  check_refused(run_report({folder / "none"}), {(folder / "none").string(), "config.toml"});
  fs::create_directory(folder / "half");
  write_text(folder / "half" / "config.toml", "lr = 0.1\n");
  check_refused(run_report({folder / "half"}), {"metrics.jsonl"});
  write_text(folder / "half" / "metrics.jsonl", "");
  write_text(folder / "half" / "config.toml", "lr = 'high'\n");
  check_refused(run_report({folder / "half"}), {"config.toml:1"});
}
