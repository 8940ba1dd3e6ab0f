// `train` and `linear_eval` on folders of PNG and JPEG files.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include <gradus/tensor/io/safetensors.h>
#include <gradus/tensor/ops.h>
#include "tests/apps/programs.h"
#include "tests/support/image_files.h"
#include "vicreg/datasets.h"
#include "vicreg/evaluation.h"
#include "vicreg/metrics.h"

namespace {

using namespace gradus::test;
using nlohmann::json;
namespace fs = std::filesystem;

/// An image of its own colour, some larger than others; every third one a JPEG.
void write_image(const fs::path& folder, std::uint32_t number, std::uint8_t red) {
  fs::create_directories(folder);
  const std::uint32_t width = 16 + number % 3, height = 20 - number % 2;
  Bytes pixels = flat_pixels(width, height, red, static_cast<std::uint8_t>(number * 9), 40);
  for (std::size_t i = 0; i < pixels.size(); i += 7) pixels[i] = static_cast<std::uint8_t>(i);
  const std::string name = "image " + std::to_string(number);
  if (number % 3 == 0)
    write_text(folder / (name + ".jpg"), jpeg_file(width, height, pixels));
  else
    write_text(folder / (name + ".png"), png_file(width, height, pixels));
}

/// Two classes of six images to train on, and three to test, as a data set's folder.
void write_classes(const fs::path& data) {
  for (std::uint32_t i = 0; i < 6; ++i) {
    write_image(data / "train" / "red", i, 250);
    write_image(data / "train" / "gr\u00fcn", i, 5);
    if (i < 3) write_image(data / "test" / "red", i, 240);
  }
}

const Arguments settings{"--batch-size", "4",     "--width", "4", "--workers", "1",
                         "--projector",  "16,16", "--steps", "3", "--threads", "1",
                         "--knn-every",  "1"};

Arguments folder_options(const fs::path& data, const std::string& size = "12") {
  return {"--dataset", "folder", "--data", data.string(), "--image-size", size};
}

CommandResult train(const fs::path& out, const Arguments& arguments) {
  return run_train(settings + Arguments{"--out", out.string()} + arguments);
}

json options_of(const fs::path& file) {
  return json::parse(gradus::read_safetensors(file).metadata.at("gradus.options"));
}

}  // namespace

TEST_CASE("a folder with classes: train, resume and linear_eval, on the same statistics") {
  const TempFolder folder;
  const fs::path data = folder / "my images", out = folder / "run";
  write_classes(data);
  write_text(data / "train" / "red" / "notes.txt", "words");
  const CommandResult first =
      train(out, folder_options(data) + Arguments{"--export", folder / "w"});
  INFO("output: ", first.output);
  REQUIRE(first.exit_code == 0);
  CHECK(contains(first.output, "12 images of folder, 12x12, 2 classes, mean 0."));
  CHECK(contains(first.output, "files left out: 1, the first " + data.string()));
  CHECK(contains(first.output, ": kNN "));
  CHECK(fs::exists(out / "report.html"));

  const fs::path checkpoint = out / "checkpoint.safetensors";
  const json kept = options_of(checkpoint);
  CHECK(kept.at("images") == 12);
  CHECK(kept.at("mean").size() == 3);
  CHECK(options_of(folder / "w") == kept);
  // Exported later, without the images, it is the same file.
  REQUIRE(train(out, folder_options(folder / "none") +
                         Arguments{"--resume", "--steps", "0", "--export", folder / "later"})
              .exit_code == 0);
  CHECK(read_text(folder / "later") == read_text(folder / "w"));
  // Nor does that of a run with a probe, which made its first weights by the images' classes.
  const fs::path probed = folder / "probed";
  REQUIRE(train(probed, folder_options(data) + Arguments{"--probe"}).exit_code == 0);
  CHECK(train(probed, folder_options(folder / "none") + Arguments{"--resume", "--probe", "--steps",
                                                                  "0", "--export", folder / "p"})
            .exit_code == 0);
  CHECK(fs::exists(folder / "p"));

  const fs::path results = folder / "results.json";
  const auto evaluate = [&](const fs::path& weights, const fs::path& with) {
    const CommandResult result = run_linear_eval(
        {weights.string(), "--dataset", "folder", "--data", with.string(), "--epochs", "2", "--knn",
         "--crops", "2", "--workers", "1", "--threads", "1", "--json", results.string()});
    INFO("output: ", result.output);
    REQUIRE(result.exit_code == 0);
    return result.output;
  };
  const std::string statistics = first.output.substr(
      first.output.find(", mean "), std::string(", mean 0.1234 0.1234 0.1234").size());
  CHECK(contains(evaluate(checkpoint, data), "12x12, 2 classes" + statistics));
  const json result = json::parse(read_text(results));
  CHECK(result.at("linear").at("images") == 3);
  CHECK(result.at("linear").at("classes") == json{"gr\u00fcn", "red"});
  CHECK(result.at("linear").at("class_accuracy").at("gr\u00fcn").is_null());

  // Other images are normalised as those that were trained on.
  const fs::path other = folder / "other";
  write_image(other / "train" / "one", 1, 90);
  write_image(other / "test" / "one", 2, 90);
  CHECK(
      contains(evaluate(folder / "w", other), "1 images of folder, 12x12, 1 classes" + statistics));

  const Arguments resume = folder_options(data) + Arguments{"--resume", "--steps", "6"};
  write_image(data / "train" / "red", 6, 250);
  check_refused(train(out, resume), {"images = 12", "13"});
  fs::remove(data / "train" / "red" / "image 6.jpg");
  write_image(data / "train" / "red", 0, 30);
  check_refused(train(out, resume), {"mean = "});
  write_image(data / "train" / "red", 0, 250);
  check_refused(train(out, resume + Arguments{"--image-size", "14"}), {"image-size = 12", "14"});
  CHECK(train(out, resume).exit_code == 0);
}

TEST_CASE("test images are prepared as training images are") {
  const TempFolder folder;
  const fs::path data = folder / "data";
  write_classes(data);
  fs::remove_all(data / "test");
  fs::copy(data / "train", data / "test", fs::copy_options::recursive);
  const CommandResult result =
      run_linear_eval(Arguments{"--untrained", "--width", "4", "--no-linear", "--threads", "1",
                                "--features", folder / "f.npy"} +
                      folder_options(data));
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(read_text(folder / "f_test.npy") == read_text(folder / "f_train.npy"));
}

TEST_CASE("training measures kNN and the probe as an evaluation does") {
  const TempFolder folder;
  const fs::path data = folder / "data", out = folder / "run";
  write_classes(data);  // the first training images are green, all test images are red
  const CommandResult trained = train(out, folder_options(data) + Arguments{"--probe"});
  INFO("output: ", trained.output);
  REQUIRE(trained.exit_code == 0);
  const auto accuracies = gradus::vicreg::read_metrics(out / "metrics.jsonl").accuracies;
  REQUIRE(accuracies.size() == 1);
  const CommandResult judged =
      run_linear_eval(Arguments{(out / "checkpoint.safetensors").string(), "--knn", "--no-linear",
                                "--crops", "0", "--threads", "1", "--features", folder / "f.npy"} +
                      folder_options(data));
  INFO("output: ", judged.output);
  REQUIRE(judged.exit_code == 0);
  CHECK(json::parse(read_text(out / "linear_eval.json")).at("knn").at("top1") ==
        accuracies[0].knn_accuracy.value());
  // The probe's classes, by its weights in the checkpoint.
  const auto tensors = gradus::read_safetensors(out / "checkpoint.safetensors").tensors;
  const gradus::Tensor scores = gradus::matmul(read_features(folder / "f_test.npy"),
                                               tensors.at("probe.weight"), {.transpose_b = true}) +
                                tensors.at("probe.bias");
  const gradus::Tensor red = gradus::from_vector<std::int64_t>({1, 1, 1}, {3});
  CHECK(gradus::vicreg::evaluate(scores, red).top1.value == accuracies[0].probe_test.value());
}

TEST_CASE("a folder without classes: train without kNN, and no evaluation") {
  const TempFolder folder;
  const fs::path data = folder / "data", out = folder / "run";
  for (std::uint32_t i = 0; i < 8; ++i) write_image(data / "train", i, 100);
  write_image(data / "test", 0, 100);
  const CommandResult result = train(out, folder_options(data));
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(result.output, "8 images of folder, 12x12, without labels"));
  CHECK(contains(result.output, "kNN is off: the images to train on have no labels\n"));
  CHECK_FALSE(contains(result.output, ": kNN "));
  check_refused(run_linear_eval({(out / "checkpoint.safetensors").string(), "--dataset", "folder",
                                 "--data", data.string()}),
                {data.string(), "no labels", "a folder named after its class"});
}

TEST_CASE("images that cannot be used are refused in one line, and may be left out") {
  const TempFolder folder;
  const fs::path data = folder / "data", out = folder / "run";
  check_refused(train(out, {"--dataset", "folder", "--data", data.string()}),
                {"no folder " + (data / "train").string()});
  write_classes(data);
  check_refused(train(out, {"--dataset", "folder", "--data", data.string()}),
                {"the images differ in size"});
  write_text(data / "train" / "red" / "bad.png", "words");
  check_refused(train(out, folder_options(data)), {"1 of 13 images", "bad.png"});
  CHECK_FALSE(fs::exists(out / "checkpoint.safetensors"));
  const CommandResult result = train(out, folder_options(data) + Arguments{"--skip-unreadable"});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.output, "files left out: 1, the first "));
  CHECK(contains(result.output, "bad.png: it is neither PNG nor JPEG"));
  CHECK(contains(result.output, "12 images of folder"));
}

TEST_CASE("shards read the images once") {
  const TempFolder folder;
  const fs::path data = folder / "data";
  write_classes(data);
  write_text(data / "train" / "red" / "bad.png", "words");
  const CommandResult result =
      train(folder / "out", folder_options(data) + Arguments{"--skip-unreadable", "--shards", "2"});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  int told = 0;
  for (const std::string& line : lines_of(result.output))
    told += contains(line, "files left out: ");
  CHECK(told == 1);
}

TEST_CASE("a class whose name is no text is evaluated, too") {
  const TempFolder folder;
  for (const char* part : {"train", "test"}) write_image(folder / "data" / part / "\xff\xfe", 1, 9);
  const fs::path results = folder / "results.json";
  const CommandResult result = run_linear_eval(
      {"--untrained", "--width", "4", "--crops", "0", "--dataset", "folder", "--data",
       folder / "data", "--cached", "--epochs", "1", "--threads", "1", "--json", results.string()});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  CHECK(json::parse(read_text(results)).at("linear").at("classes").at(0) == "\ufffd\ufffd");
}

TEST_CASE("CIFAR: training and test images are those of their own files") {
  using namespace gradus::vicreg;
  const TempFolder folder;
  for (const char* batch : {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4",
                            "data_batch_5", "test_batch"})
    write_zeros(folder / (std::string(batch) + ".bin"), 10'000 * 3073);
  write_zeros(folder / "train.bin", 50'000 * 3074);
  write_zeros(folder / "test.bin", 10'000 * 3074);
  overwrite(folder / "test_batch.bin", 3073, "\x01");  // the second image's label
  overwrite(folder / "test.bin", 3074 + 1, "\x01");
  for (const DatasetName name : {DatasetName::cifar10, DatasetName::cifar100}) {
    const DataOptions options{
        .dataset = name, .folder = folder.path().string(), .limit = 3, .test_limit = 2};
    CHECK(load_training_set(options).labels.to_vector<std::int64_t>() ==
          std::vector<std::int64_t>{0, 0, 0});
    CHECK(load_test_set(options, {}).labels.to_vector<std::int64_t>() ==
          std::vector<std::int64_t>{0, 1});
  }
}

TEST_CASE("CIFAR-100: a hundred classes, in train and in linear_eval") {
  const TempFolder folder;
  for (const auto& [name, records] : {std::pair{"train.bin", 50'000}, {"test.bin", 10'000}}) {
    write_zeros(folder / name, static_cast<std::uintmax_t>(records) * 3074);
    std::fstream file(folder / name, std::ios::in | std::ios::out | std::ios::binary);
    for (int i = 0; i < 12; ++i) {
      file.seekp(i * 3074 + 1);
      file.put(static_cast<char>(i * 9));
      for (int byte = 0; byte < 3072; ++byte) file.put(static_cast<char>(byte * (i + 3)));
    }
  }
  const Arguments data{"--dataset", "cifar100", "--data", folder.path().string(), "--limit", "12"};
  const CommandResult trained = train(folder / "run", data + Arguments{"--knn-images", "12"});
  INFO("output: ", trained.output);
  REQUIRE(trained.exit_code == 0);
  CHECK(contains(trained.output, "12 images of cifar100, 32x32, 100 classes"));
  CHECK(contains(trained.output, ": kNN "));
  const fs::path results = folder / "results.json";
  const CommandResult result =
      run_linear_eval(data + Arguments{folder / "run/checkpoint.safetensors", "--test-limit", "12",
                                       "--cached", "--epochs", "2", "--crops", "0", "--threads",
                                       "1", "--json", results.string()});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(json::parse(read_text(results)).at("linear").at("confusion").size() == 100);
  CHECK(contains(result.output, "\n  apple "));
  for (const std::string& line : lines_of(result.output)) CHECK(line.size() < 300);
}

TEST_CASE("STL-10: train takes the images without labels, linear_eval those with") {
  const TempFolder folder;
  constexpr std::uintmax_t image = 3 * 96 * 96;
  // Of the first eight every other one is white, beginning with number `white`; the others are
  // black.
  const auto write_images = [&](const std::string& name, std::size_t count, std::size_t white) {
    write_zeros(folder / name, count * image);
    for (std::size_t i = white; i < 8; i += 2)
      overwrite(folder / name, i * image, std::string(image, '\xff'));
  };
  write_images("unlabeled_X.bin", 100'000, 1);
  struct Part {
    std::string name;
    std::size_t count, white;
  };
  for (const auto& [name, count, white] : {Part{"train", 5'000, 1}, Part{"test", 8'000, 0}}) {
    write_images(name + "_X.bin", count, white);
    std::string labels(count, '\x01');
    for (std::size_t i = white; i < count; i += 2) labels[i] = '\x0a';
    write_text(folder / (name + "_y.bin"), labels);
  }
  const Arguments data{"--dataset",    "stl10", "--data",  folder.path().string(),
                       "--image-size", "16",    "--limit", "8"};
  const CommandResult trained = train(folder / "run", data);
  INFO("output: ", trained.output);
  REQUIRE(trained.exit_code == 0);
  CHECK(contains(trained.output, "8 images of stl10, 16x16, without labels"));
  CHECK(contains(trained.output, "kNN is off"));
  const CommandResult result = run_linear_eval(
      data + Arguments{folder / "run/checkpoint.safetensors", "--test-limit", "5", "--cached",
                       "--epochs", "20", "--lr", "1", "--crops", "0", "--threads", "1"});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.output, "8 images of stl10, 16x16, 10 classes"));
  CHECK(contains(result.output, "top-1 100.00 %"));
  // Of the first five test images three are white, of the training images two.
  const json results = json::parse(read_text(folder / "run/linear_eval.json"));
  CHECK(results.at("linear").at("confusion").at(9).at(9) == 3);
}
