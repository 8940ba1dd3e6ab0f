// The loader. Free of OpenMP, so that ThreadSanitizer sees every synchronisation.
#include <gradus/data/loader.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gradus/data/sampler.h>
#include "tests/support/augmentation.h"
#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/view_format.h"

namespace {

using namespace gradus;
using namespace gradus::data;
using gradus::test::contains;
using gradus::test::error_of;

/// `count` random images of `height` x `width`; label i mod 10.
Dataset random_dataset(std::int64_t count, std::int64_t height = 32, std::int64_t width = 32) {
  Dataset dataset{empty({count, height, width, 3}, {DType::uint8}), empty({count}, {DType::int64}),
                  std::vector<std::string>(10, "class"), cifar10_normalization()};
  auto* pixels = dataset.images.data<std::uint8_t>();
  for (std::int64_t i = 0; i < dataset.images.numel(); ++i) {
    pixels[i] = static_cast<std::uint8_t>((static_cast<std::uint64_t>(i) * 2654435761u) >> 13);
  }
  for (std::int64_t i = 0; i < count; ++i) dataset.labels.data<std::int64_t>()[i] = i % 10;
  return dataset;
}

std::vector<Batch> rest_of_epoch(Loader& loader) {
  std::vector<Batch> batches;
  while (auto batch = loader.next()) batches.push_back(std::move(*batch));
  return batches;
}

std::vector<Batch> whole_epoch(const Dataset& dataset, const Loader::Options& options,
                               std::int64_t epoch, std::int64_t first_batch = 0) {
  Loader loader(dataset, options);
  loader.start_epoch(epoch, first_batch);
  return rest_of_epoch(loader);
}

template <class T>
bool equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::equal(a.data<T>(), a.data<T>() + a.numel(), b.data<T>());
}

bool equal(const Batch& a, const Batch& b) {
  return equal<float>(a.images, b.images) && equal<std::int64_t>(a.labels, b.labels) &&
         equal<std::int64_t>(a.samples, b.samples);
}

/// The images of one view of each sample, [B, H, W, C].
Tensor view_of(const Batch& batch, std::int64_t view) {
  return batch.images.slice(view * batch.size(), (view + 1) * batch.size());
}

bool equal(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Batch& x, const Batch& y) { return equal(x, y); });
}

/// Every step, to images of 32 x 32.
AugmentOptions recipe() {
  AugmentOptions options = test::every_step();
  options.size = 32;
  return options;
}

const Loader::Options small{
    .batch_size = 8, .views = 2, .workers = 2, .seed = 9, .augment = recipe()};

TEST_CASE("batches are the same for any number of workers") {
  const Dataset dataset = random_dataset(61);
  Loader::Options options = small;
  options.workers = 0;
  const std::vector<Batch> expected = whole_epoch(dataset, options, 3);
  REQUIRE(expected.size() == 8);
  for (const int workers : {1, 2, 5, 20}) {
    CAPTURE(workers);
    options.workers = workers;
    CHECK(equal(whole_epoch(dataset, options, 3), expected));
  }
  CHECK_FALSE(equal(whole_epoch(dataset, options, 4), expected));
  options.seed = 10;
  CHECK_FALSE(equal(whole_epoch(dataset, options, 3), expected));
}

TEST_CASE("an epoch can be entered at any batch") {
  const Dataset dataset = random_dataset(29);
  const std::vector<Batch> expected = whole_epoch(dataset, small, 1);
  Loader loader(dataset, small);
  for (std::int64_t first = 0; first <= 4; ++first) {
    loader.start_epoch(1, first);  // the same loader, from wherever it was
    const std::vector<Batch> rest = rest_of_epoch(loader);
    CHECK(equal(rest, std::vector<Batch>(expected.begin() + first, expected.end())));
    CHECK_FALSE(loader.next().has_value());
  }
}

TEST_CASE("every sample comes once an epoch, with its own label") {
  const Dataset dataset = random_dataset(61);
  std::vector<std::int64_t> seen;
  for (const Batch& batch : whole_epoch(dataset, small, 0)) {
    for (std::int64_t i = 0; i < batch.size(); ++i) {
      const std::int64_t sample = batch.samples.data<std::int64_t>()[i];
      seen.push_back(sample);
      REQUIRE(batch.labels.data<std::int64_t>()[i] == sample % 10);
    }
  }
  std::vector<std::int64_t> order(61);
  std::iota(order.begin(), order.end(), 0);
  CHECK(seen != order);
  std::sort(seen.begin(), seen.end());
  CHECK(seen == order);
}

TEST_CASE("the order changes with seed and epoch, and without shuffling is the files'") {
  const auto order = [](bool shuffle, std::uint64_t seed, std::int64_t epoch) {
    return epoch_order(50, shuffle, seed, epoch).to_vector<std::int64_t>();
  };
  CHECK(order(true, 1, 2) == order(true, 1, 2));
  CHECK(order(true, 1, 2) != order(true, 1, 3));
  CHECK(order(true, 1, 2) != order(true, 2, 2));
  const std::vector<std::int64_t> plain = order(false, 1, 2);
  CHECK(std::is_sorted(plain.begin(), plain.end()));
  Loader::Options options = small;
  options.shuffle = false;
  const std::vector<Batch> batches = whole_epoch(random_dataset(20), options, 7);
  CHECK(batches[1].samples.to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{8, 9, 10, 11, 12, 13, 14, 15});
}

TEST_CASE("the order of an epoch stays what it is") {
  // Guards checkpoints and published runs against a change of the stream.
  CHECK(epoch_order(10, true, 1, 2).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{4, 8, 3, 9, 6, 2, 0, 1, 5, 7});
}

TEST_CASE("partial batches are kept or dropped") {
  Loader::Options options = small;
  for (const auto& [count, kept, dropped] :
       {std::tuple{16, 2, 2}, std::tuple{17, 3, 2}, std::tuple{8, 1, 1}}) {
    const Dataset dataset = random_dataset(count);
    options.drop_last = false;
    CHECK(Loader(dataset, options).batches_per_epoch() == kept);
    const std::vector<Batch> batches = whole_epoch(dataset, options, 0);
    CHECK(static_cast<int>(batches.size()) == kept);
    CHECK(batches.back().size() == (count - 1) % 8 + 1);
    options.drop_last = true;
    CHECK(Loader(dataset, options).batches_per_epoch() == dropped);
    CHECK(static_cast<int>(whole_epoch(dataset, options, 0).size()) == dropped);
  }
  options.drop_last = false;
  CHECK(whole_epoch(random_dataset(3), options, 0).at(0).size() == 3);
}

TEST_CASE("the parts of a batch are the batch, cut in its order") {
  const Dataset dataset = random_dataset(30);
  Loader::Options options = small;
  options.drop_last = true;
  const std::vector<Batch> whole = whole_epoch(dataset, options, 2);
  options.parts = 4;
  for (options.part = 0; options.part < 4; ++options.part) {
    CAPTURE(options.part);
    const std::vector<Batch> parts = whole_epoch(dataset, options, 2);
    REQUIRE(parts.size() == whole.size());
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const std::int64_t n = whole[i].size() / 4, begin = options.part * n;
      REQUIRE(parts[i].size() == n);
      CHECK(parts[i].samples.to_vector<std::int64_t>() ==
            whole[i].samples.slice(begin, begin + n).to_vector<std::int64_t>());
      for (std::int64_t view = 0; view < options.views; ++view)
        CHECK(
            equal<float>(view_of(parts[i], view), view_of(whole[i], view).slice(begin, begin + n)));
    }
  }
}

TEST_CASE("images hold all views, each with the sample's own augmentation") {
  const Dataset dataset = random_dataset(11, 20, 24);  // not the output's size
  const std::vector<Batch> batches = whole_epoch(dataset, small, 2);
  const Batch& batch = batches.at(1);
  REQUIRE(batch.images.shape() == Shape{6, 32, 32, 3});
  AugmentScratch scratch;
  std::vector<float> expected(32 * 32 * 3);
  for (int view = 0; view < 2; ++view) {
    const Tensor images = view_of(batch, view);
    for (std::int64_t i = 0; i < 3; ++i) {
      const std::int64_t sample = batch.samples.data<std::int64_t>()[i];
      const ViewId id{.seed = 9, .epoch = 2, .sample = sample, .view = view};
      apply(small.augment, test::view_format(20, 24, 32),
            draw_parameters(small.augment, 20, 24, id),
            dataset.images.data<std::uint8_t>() + sample * 20 * 24 * 3, expected.data(), scratch);
      CHECK(std::equal(expected.begin(), expected.end(), images.data<float>() + i * 32 * 32 * 3));
    }
  }
  Loader::Options single = small;
  single.views = 1;
  const Batch first = whole_epoch(dataset, single, 2).at(1);
  CHECK(equal<float>(first.images, view_of(batch, 0)));
}

TEST_CASE("without labels the batches have none, and are otherwise the same") {
  Dataset dataset = random_dataset(7);
  const std::vector<Batch> labelled = whole_epoch(dataset, small, 1);
  dataset.labels = {};
  const std::vector<Batch> plain = whole_epoch(dataset, small, 1);
  REQUIRE(plain.size() == labelled.size());
  for (std::size_t i = 0; i < plain.size(); ++i) {
    CHECK_FALSE(plain[i].labels.defined());
    CHECK(plain[i].size() == labelled[i].size());
    CHECK(equal<std::int64_t>(plain[i].samples, labelled[i].samples));
    CHECK(equal<float>(plain[i].images, labelled[i].images));
  }
}

TEST_CASE("many views: crops at their own size are the image's pixels, each view has its own") {
  Dataset dataset = random_dataset(4);
  dataset.normalization = {};
  // A quarter of the area, square: 16 x 16 pixels, which nothing resamples.
  const Loader::Options options{
      .batch_size = 4,
      .views = 64,
      .shuffle = false,
      .augment = {
          .size = 16, .random_crop = true, .crop_scale = {0.25f, 0.25f}, .crop_ratio = {1, 1}}};
  const Batch batch = whole_epoch(dataset, options, 0).at(0);
  REQUIRE(batch.images.shape() == Shape{64 * 4, 16, 16, 3});
  std::set<std::pair<int, int>> corners;  // of the crops
  for (int view = 0; view < 64; ++view) {
    for (std::int64_t i = 0; i < 4; ++i) {
      const CropBox box =
          draw_parameters(options.augment, 32, 32, {.sample = i, .view = view}).crop;
      REQUIRE(box.height == 16);
      REQUIRE(box.width == 16);
      corners.emplace(box.top, box.left);
      const float* values = batch.images.data<float>() + (view * 4 + i) * 16 * 16 * 3;
      const auto* pixels = dataset.images.data<std::uint8_t>() + i * 32 * 32 * 3;
      bool same = true;
      for (int k = 0; k < 16 * 16 * 3; ++k) {
        const int y = box.top + k / (16 * 3), x = box.left + k / 3 % 16;
        same &= values[k] == static_cast<float>(pixels[(y * 32 + x) * 3 + k % 3]) / 255.0f;
      }
      CHECK(same);
    }
  }
  CHECK(corners.size() > 100);  // of 17 x 17, in 256 draws
}

TEST_CASE("an epoch is a range of batches, whose images and labels can be named") {
  const Dataset dataset = random_dataset(29);
  const std::vector<Batch> expected = whole_epoch(dataset, small, 1);
  Loader loader(dataset, small);
  std::vector<Batch> batches;
  for (Batch& batch : loader.epoch(1)) batches.push_back(std::move(batch));
  CHECK(equal(batches, expected));
  std::size_t i = 2;
  for (auto& [images, labels, samples] : loader.epoch(1, 2)) {
    CHECK(equal<float>(images, expected.at(i).images));
    CHECK(equal<std::int64_t>(labels, expected.at(i).labels));
    ++i;
  }
  CHECK(i == expected.size());
  for (const auto& [images, labels, samples] : loader.epoch(2)) {  // left in the middle
    CHECK(images.size(0) == 2 * labels.size(0));
    break;
  }
  Loader::Epoch again = loader.epoch(1);
  CHECK(equal(*again.begin(), expected.at(0)));
}

TEST_CASE("images of any size and channels, by default only normalised") {
  Dataset digits{empty({5, 28, 20, 1}, {DType::uint8}), arange(0, 5)};
  for (std::int64_t i = 0; i < digits.images.numel(); ++i)
    digits.images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 7);
  const auto first = [](const Dataset& dataset) {
    Loader loader(dataset, {.batch_size = 4, .shuffle = false});
    loader.start_epoch(0);
    return loader.next()->images;
  };
  const Tensor pixels = first(digits);
  digits.normalization = {{0.25f}, {0.5f}};
  const Tensor images = first(digits);
  CHECK(images.shape() == Shape{4, 28, 20, 1});
  for (std::int64_t i = 0; i < images.numel(); ++i) {
    const float pixel = static_cast<float>(digits.images.data<std::uint8_t>()[i]) / 255.0f;
    REQUIRE(std::as_const(pixels).data<float>()[i] == pixel);
    REQUIRE(std::as_const(images).data<float>()[i] == (pixel - 0.25f) / 0.5f);
  }
  CHECK_ERROR(Loader(digits, {.augment = test::every_step()}),
              "colour jitter and grayscale need images of 3 channels");
  digits.normalization = {{0.25f}, {0.5f, 0.5f}};
  CHECK_ERROR(Loader(digits, {}), "a std for each of 1 channels, or none; got 1 and 2");
  digits.normalization = {{0.25f}, {0.0f}};
  CHECK_ERROR(Loader(digits, {}), "a std must be positive and finite; got 0");
  digits.normalization = {{NAN}, {1.0f}};
  CHECK_ERROR(Loader(digits, {}), "a mean must be finite; got nan");
}

TEST_CASE("a loader can be destroyed in the middle of an epoch") {
  const Dataset dataset = random_dataset(200);
  for (int taken = 0; taken < 4; ++taken) {
    Loader loader(dataset, small);
    loader.start_epoch(0);
    for (int i = 0; i < taken; ++i) REQUIRE(loader.next().has_value());
  }
}

TEST_CASE("time spent waiting is counted") {
  Loader::Options options = small;
  options.workers = 0;
  Loader loader(random_dataset(64), options);
  CHECK(loader.seconds_waited() == 0.0);
  loader.start_epoch(0);
  loader.next();
  const double first = loader.seconds_waited();
  CHECK(first > 0.0);
  loader.next();
  CHECK(loader.seconds_waited() > first);
}

TEST_CASE("bad options are told") {
  const Dataset dataset = random_dataset(10);
  const auto error = [&](Loader::Options options) {
    return error_of([&] { Loader(dataset, options); });
  };
  CHECK(error({.batch_size = 11, .drop_last = true}) ==
        "[loader] no batch: the batch size, 11, exceeds the data set's 10 images and partial "
        "batches are dropped; lower the batch size or keep the last batch");
  CHECK(error({.batch_size = 10, .drop_last = true}).empty());
  CHECK(contains(error({.batch_size = 0}), "batch size must be at least 1; got 0"));
  CHECK(contains(error({.batch_size = -4}), "got -4"));
  CHECK(contains(error({.views = 0}), "views"));
  CHECK(contains(error({.views = 65537}), "views must lie in [1, 65536]; got 65537"));
  CHECK(contains(error({.workers = -1}), "workers"));
  CHECK(contains(error({.parts = 2, .part = 2}), "part must lie in [0, 2)"));
  CHECK(contains(error({.batch_size = 6, .parts = 4}), "6 images cannot be cut into 4 equal"));
  CHECK(contains(error({.batch_size = 8, .parts = 4}), "last batch of an epoch has 2 images"));
  CHECK(error({.batch_size = 8, .drop_last = true, .parts = 4}).empty());
  CHECK(contains(error({.augment = {.flip_probability = 2.0f}}), "flip_probability"));

  CHECK(contains(error_of([] { Loader(Dataset{}, small); }), "the data set is empty"));
  Dataset mismatched = random_dataset(10);
  mismatched.labels = mismatched.labels.slice(0, 9);
  CHECK(contains(error_of([&] { Loader(mismatched, small); }), "labels must be int64 [N]"));

  Dataset vast = random_dataset(1, 1, 1);
  vast.images = empty({1, 1, 20'000, 3}, {DType::uint8});
  CHECK(contains(error_of([&] { Loader(vast, small); }), "at most 16384 pixels a side"));

  Loader loader(dataset, small);
  CHECK(contains(error_of([&] { loader.next(); }), "start_epoch must be called"));
  CHECK(contains(error_of([&] { loader.start_epoch(0, 3); }), "first batch must lie in [0, 2]"));
  CHECK(contains(error_of([&] { loader.start_epoch(-1); }), "epoch"));
}

TEST_CASE("a batch size near the end of int64 is one batch") {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const Dataset dataset = random_dataset(10, 4, 4);
  Loader::Options options{.batch_size = most / 2 - 6, .views = 2, .augment = {.size = 4}};
  Loader loader(dataset, options);
  CHECK(loader.batches_per_epoch() == 1);
  loader.start_epoch(0);
  CHECK(loader.next().value().size() == 10);
  CHECK_FALSE(loader.next().has_value());
  CHECK(batch_count(10, most - 6, false) == 1);
  CHECK(batch_count(10, most - 6, true) == 0);
  options.batch_size = most - 6;
  CHECK(contains(error_of([&] { Loader(dataset, options); }), "more than can be counted"));
}

}  // namespace
