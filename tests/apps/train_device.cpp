// Whole runs on the device under test: the CPU's losses, exact resume, mixed precision, and what a
// user is told where there is no GPU to use.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/apps/programs.h"
#include "tests/support/device.h"
#include "tests/support/near.h"
#include "vicreg/metrics.h"

namespace {

using namespace gradus::test;
using gradus::vicreg::StepRecord;
using nlohmann::json;
namespace fs = std::filesystem;

/// The emulated GPU without the comparison of thread orders, which other tests make.
const CommandOptions quick{.environment = {"GRADUS_EMULATOR_ORDERS=0"}};

Arguments on_test_device() { return {"--device", std::string(gradus::name(test_device()))}; }

/// Trains with the tiny settings and returns the records of all steps.
std::vector<StepRecord> train(const fs::path& out, const Arguments& arguments) {
  const CommandResult result = train_tiny(out, arguments, quick);
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK_FALSE(contains(result.output, "not as a graph"));
  return gradus::vicreg::read_metrics(out / "metrics.jsonl").steps;
}

double mean_loss(const std::vector<StepRecord>& steps, std::size_t begin, std::size_t end) {
  double sum = 0;
  for (std::size_t i = begin; i < end; ++i) sum += steps[i].loss.total;
  return sum / static_cast<double>(end - begin);
}

/// How many images, at least, two classifiers put into different classes, by their confusions.
int differing(const json& a, const json& b) {
  int moved = 0;
  for (std::size_t label = 0; label < a.size(); ++label)
    for (std::size_t predicted = 0; predicted < a.size(); ++predicted)
      moved +=
          std::abs(a.at(label).at(predicted).get<int>() - b.at(label).at(predicted).get<int>());
  return moved / 2;
}

}  // namespace

TEST_SUITE("device") {
  TEST_CASE("a run has the CPU's losses") {
    const TempFolder folder;
    // Two ordinary steps, then replays of a captured one; a partial batch runs in between.
    // Small steps: five large ones make 1 % of a difference in rounding.
    constexpr double tolerance = 2e-3;
    const std::vector<Arguments> settings{
        {"--steps", "7"},
        {"--steps", "5", "--keep-last", "--limit", "20", "--clip-norm", "1", "--optimizer", "lars",
         "--lr", "0.005", "--separate-views", "--checkpoint-activations"},
        {"--steps", "5", "--views", "4", "--view-size", "16", "--crop-scale", "0.25,0.25",
         "--crop-ratio", "1,1"},
        {"--steps", "5", "--views", "3", "--loss", "coding-rate"},
        {"--steps", "5", "--optimizer", "muon", "--nesterov", "--lr", "0.02"},
    };
    for (const Arguments& arguments : settings) {
      CAPTURE(arguments);
      const auto expected = train(folder / "cpu", arguments + Arguments{"--device", "cpu"});
      const auto steps = train(folder / "device", arguments + on_test_device());
      REQUIRE(steps.size() == expected.size());
      for (std::size_t i = 0; i < steps.size(); ++i) {
        CAPTURE(i);
        const auto &loss = steps[i].loss, &on_cpu = expected[i].loss;
        CHECK(loss.total == near(on_cpu.total, tolerance));
        CHECK(loss.variance == near(on_cpu.variance, tolerance));
        CHECK(loss.covariance == near(on_cpu.covariance, 5 * tolerance));
        CHECK(loss.similarity == near(on_cpu.similarity, tolerance));
        CHECK(loss.coding_rate == near(on_cpu.coding_rate, tolerance));
      }
      fs::remove_all(folder / "cpu");
      fs::remove_all(folder / "device");
    }
  }

  TEST_CASE("--tf32 rounds on a GPU, and does nothing on the CPU") {
    const TempFolder folder;
    const Arguments step = on_test_device() + Arguments{"--steps", "1"};
    const double exact = train(folder / "exact", step)[0].loss.total;
    const double rounded = train(folder / "tf32", step + Arguments{"--tf32"})[0].loss.total;
    CHECK(rounded == near(exact, 5e-3));
    if (test_device() == gradus::Device::cpu) CHECK(rounded == exact);
    if (on_emulator()) CHECK(rounded != exact);  // a GPU before 8.0 has no TF32
  }

  TEST_CASE("a resumed run on the device is the uninterrupted one") {
    const TempFolder folder;
    train(folder / "whole", on_test_device() + Arguments{"--steps", "6"});
    for (const char* steps : {"2", "6"})
      train(folder / "parts", on_test_device() + Arguments{"--steps", steps, "--resume"});
    CHECK(checkpoint_bytes(folder / "parts") == checkpoint_bytes(folder / "whole"));
  }

  TEST_CASE("--bf16 learns as float32 does") {
    const TempFolder folder;
    const bool is_cpu = test_device() == gradus::Device::cpu;
    const std::size_t count = is_cpu ? 60 : 15;
    const Arguments setting =
        on_test_device() +
        Arguments{"--steps", std::to_string(count), "--lr", "0.003", "--epochs", "100"} +
        (is_cpu ? Arguments{"--limit", "96", "--batch-size", "32"} : Arguments{});
    const auto full = train(folder / "full", setting);
    const auto mixed = train(folder / "mixed", setting + Arguments{"--bf16"});
    REQUIRE(mixed.size() == count);
    const std::size_t part = count / 5;
    const double first = mean_loss(full, 0, part);
    const double full_last = mean_loss(full, count - part, count);
    const double mixed_last = mean_loss(mixed, count - part, count);
    MESSAGE("loss from ", first, " to ", full_last, " in float32, ", mixed_last, " in bfloat16");
    CHECK(mixed[0].loss.total == near(full[0].loss.total, 0.005));
    CHECK(mixed[0].loss.total != full[0].loss.total);
    REQUIRE(full_last < 0.95 * first);
    // Batches this small are noisy: 0.5 and 1.5 have been seen. Without learning it is about 0.
    CHECK(first - mixed_last > 0.2 * (first - full_last));
  }

  TEST_CASE("linear evaluation and kNN on the device") {
    const TempFolder folder;
    train(folder / "run", on_test_device() + Arguments{"--steps", "1"});
    std::vector<json> results;
    for (const std::string& device : Arguments{"cpu", std::string(gradus::name(test_device()))}) {
      const CommandResult result =
          run_linear_eval({(folder / "run" / "checkpoint.safetensors").string(),
                           "--dataset",
                           "synthetic",
                           "--limit",
                           "40",
                           "--test-limit",
                           "30",
                           "--epochs",
                           "3",
                           "--batch-size",
                           "16",
                           "--knn",
                           "--k",
                           "5",
                           "--cached",
                           "--crops",
                           "2",
                           "--whiten",
                           "--device",
                           device,
                           "--json",
                           (folder / device).string()},
                          quick);
      INFO("output: ", result.output);
      REQUIRE(result.exit_code == 0);
      results.push_back(json::parse(read_text(folder / device)));
    }
    for (const std::string features : {"", "/whitened", "/crops", "/crops/whitened"}) {
      for (const std::string classifier : {"/linear", "/knn"}) {
        CAPTURE(features + classifier);
        const json::json_pointer confusion(features + classifier + "/confusion");
        REQUIRE(results[0].at(confusion).size() == 10);
        CHECK(differing(results[0].at(confusion), results[1].at(confusion)) <= 1);  // of 30
      }
    }
  }

  TEST_CASE("a loss that is not finite stops the run and leaves the last good weights") {
    const TempFolder folder;
    train(folder / "run", on_test_device() + Arguments{"--steps", "3"});
    const std::string before = checkpoint_bytes(folder / "run");
    check_refused(train_tiny(folder / "run",
                             on_test_device() + Arguments{"--init", "/nonexistent", "--overwrite"}),
                  {"/nonexistent"});
    CHECK(checkpoint_bytes(folder / "run") == before);
    const CommandResult result =
        train_tiny(folder / "wild",
                   on_test_device() + Arguments{"--optimizer", "sgd", "--lr", "1e30", "--steps",
                                                "8", "--checkpoint-every", "1"},
                   quick);
    check_refused(result, {"the loss is", "first output that is not finite", "images of the batch",
                           "the last good checkpoint is "});
    checkpoint_bytes(folder / "wild");
  }
}

TEST_SUITE("emulated device") {
  TEST_CASE("why the GPU cannot be used") {
    const TempFolder folder;
    struct Fault {
      std::string environment, reason;
    };
    const std::vector<Fault> faults{
        {"GRADUS_EMULATOR_DEVICE=no-driver", "no NVIDIA driver"},
        {"GRADUS_EMULATOR_DEVICE=old-driver", "driver is too old: it supports CUDA 12.4"},
        {"GRADUS_EMULATOR_DEVICE=no-gpu", "no GPU was found"},
        {"GRADUS_EMULATOR_DEVICE=old-gpu", "compute capability 6.1, and 7.5 or newer is needed"},
        {"GRADUS_EMULATOR_MEMORY=1", "out of memory"},
    };
    for (const auto& [environment, reason] : faults) {
      CAPTURE(environment);
      const CommandOptions options{.environment = {environment}};
      check_refused(train_tiny(folder / "cuda", {"--device", "cuda", "--steps", "1"}, options),
                    {"--device cuda", reason});
      const CommandResult automatic =
          train_tiny(folder / "auto", {"--device", "auto", "--steps", "1", "--overwrite"}, options);
      INFO("output: ", automatic.output);
      CHECK(automatic.exit_code == 0);
      CHECK(contains(automatic.output, "on the CPU: "));
      CHECK(contains(automatic.output, reason));
    }
  }

  TEST_CASE("out of memory is one line with the sizes and what helps") {
    const TempFolder folder;
    const CommandOptions options{
        .environment = {"GRADUS_EMULATOR_MEMORY=40", "GRADUS_EMULATOR_ORDERS=0"}};
    check_refused(train_tiny(folder / "run", {"--device", "cuda", "--width", "16"}, options),
                  {"out of GPU memory", "MiB asked for", "free", "a smaller batch"});
  }
}
