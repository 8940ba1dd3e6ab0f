// The loader on the device under test: the CPU's batches, wherever an epoch is entered.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gradus/data/loader.h>
#include "tests/support/augmentation.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"

namespace {

using namespace gradus;
using namespace gradus::data;
using gradus::test::max_difference;
using gradus::test::test_device;

constexpr double tolerance = 8e-6;

/// `count` images of 12 x 20 that differ from each other; label i mod 10.
Dataset small_dataset(std::int64_t count) {
  Dataset dataset{empty({count, 12, 20, 3}, {DType::uint8}), empty({count}, {DType::int64}),
                  std::vector<std::string>(10, "class")};
  auto* pixels = dataset.images.data<std::uint8_t>();
  for (std::int64_t i = 0; i < dataset.images.numel(); ++i) {
    pixels[i] = static_cast<std::uint8_t>((static_cast<std::uint64_t>(i) * 2654435761u) >> 13);
  }
  for (std::int64_t i = 0; i < count; ++i) dataset.labels.data<std::int64_t>()[i] = i % 10;
  return dataset;
}

Loader::Options small_options(Device device) {
  AugmentOptions recipe = test::every_step();
  recipe.size = 16;
  return {
      .batch_size = 8, .views = 2, .workers = 2, .seed = 9, .device = device, .augment = recipe};
}

std::vector<Batch> rest_of_epoch(Loader& loader) {
  std::vector<Batch> batches;
  while (auto batch = loader.next()) batches.push_back(std::move(*batch));
  return batches;
}

std::vector<Batch> whole_epoch(const Dataset& dataset, const Loader::Options& options,
                               std::int64_t epoch) {
  Loader loader(dataset, options);
  loader.start_epoch(epoch);
  return rest_of_epoch(loader);
}

/// `batch`, from test_device(), holds what `expected` holds, from the CPU.
void check_batch(const Batch& batch, const Batch& expected) {
  CHECK(test::same_bits(batch.labels, expected.labels));
  CHECK(test::same_bits(batch.samples, expected.samples));
  CHECK(batch.images.device() == test_device());
  CHECK(test::relative_error(batch.images, expected.images) < tolerance);
}

void check_batches(const std::vector<Batch>& batches, const std::vector<Batch>& expected,
                   std::size_t first = 0) {
  REQUIRE(batches.size() == expected.size() - first);
  for (std::size_t i = 0; i < batches.size(); ++i) check_batch(batches[i], expected[first + i]);
}

TEST_CASE("the device's batches are the CPU's, for any number of workers") {
  const Dataset dataset = small_dataset(21);  // the last batch has 5
  const std::vector<Batch> expected = whole_epoch(dataset, small_options(Device::cpu), 3);
  REQUIRE(expected.size() == 3);
  Loader::Options options = small_options(test_device());
  for (const int workers : {0, 1, 3}) {
    CAPTURE(workers);
    options.workers = workers;
    check_batches(whole_epoch(dataset, options, 3), expected);
  }
  options.seed = 10;
  const Tensor other = whole_epoch(dataset, options, 3).at(0).images.to(Device::cpu);
  CHECK(max_difference(other, expected[0].images) > 0.1);
}

TEST_CASE("evaluation's batches on the device: no shuffling, one view, only normalised") {
  const Dataset dataset = small_dataset(11);
  Loader::Options options{.batch_size = 4, .views = 1, .shuffle = false, .augment = {.size = 16}};
  const std::vector<Batch> expected = whole_epoch(dataset, options, 0);
  options.device = test_device();
  check_batches(whole_epoch(dataset, options, 0), expected);
}

TEST_CASE("many small views on the device are the CPU's") {
  const Dataset dataset = small_dataset(5);
  Loader::Options options = small_options(Device::cpu);
  options.views = 20;
  options.augment.crop_scale = {0.25f, 0.25f};
  options.augment.crop_ratio = {1, 1};
  for (const std::int64_t size : {16, 24}) {
    CAPTURE(size);
    options.augment.size = size;
    options.device = Device::cpu;
    const std::vector<Batch> expected = whole_epoch(dataset, options, 0);
    options.device = test_device();
    check_batches(whole_epoch(dataset, options, 0), expected);
  }
}

TEST_CASE("an epoch can be entered at any batch on the device") {
  const Dataset dataset = small_dataset(21);
  const std::vector<Batch> expected = whole_epoch(dataset, small_options(Device::cpu), 1);
  Loader loader(dataset, small_options(test_device()));
  for (std::size_t first = 0; first <= 3; ++first) {
    loader.start_epoch(1, static_cast<std::int64_t>(first));
    check_batches(rest_of_epoch(loader), expected, first);
  }
}

TEST_CASE("loaders share a data set that lies on the device") {
  const Dataset dataset = small_dataset(21);
  const std::vector<Batch> expected = whole_epoch(dataset, small_options(Device::cpu), 0);
  const Dataset there = dataset.to(test_device());
  CHECK(there.images.device() == test_device());
  CHECK(there.labels.device() == Device::cpu);
  CHECK(there.class_names == dataset.class_names);
  check_batches(whole_epoch(there, small_options(test_device()), 0), expected);

  if (test_device() == Device::cpu) return;
  CHECK_ERROR(measure_normalization(there.images), "on the CPU");
  CHECK_ERROR(Loader(there, small_options(Device::cpu)),
              "the data set lies on cuda, the batches would lie on cpu");
  Dataset labels_there = dataset;
  labels_there.labels = dataset.labels.to(test_device());
  CHECK_ERROR(Loader(labels_there, small_options(test_device())), "labels must lie on the CPU");
  const std::size_t before = memory_stats(Device::cuda).in_use;
  const Loader loader(there, small_options(test_device()));
  CHECK(memory_stats(Device::cuda).in_use == before);
}

TEST_CASE("a device that cannot be used is told") {
  if (cuda_available()) return;
  CHECK(test::error_of([] { Loader(small_dataset(8), small_options(Device::cuda)); }) ==
        "[loader] cuda cannot be used: " + cuda_unavailable_reason());
}

}  // namespace
