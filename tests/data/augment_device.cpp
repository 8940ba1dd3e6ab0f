// The augmentation on the device under test against `apply`, view by view with the same random
// choices.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <gradus/data/augment.h>
#include <gradus/tensor/ops.h>
#include "tests/support/augmentation.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/view_format.h"

namespace {

using namespace gradus;
using namespace gradus::data;
using gradus::test::test_device;

constexpr double tolerance = 8e-6;
constexpr Interpolation interpolations[] = {Interpolation::bilinear, Interpolation::bicubic};

/// uint8 [count, height, width, channels] on the CPU.
Tensor random_images(std::int64_t count, std::int64_t height, std::int64_t width,
                     std::int64_t channels = 3) {
  Tensor images = empty({count, height, width, channels}, {DType::uint8});
  auto* pixels = images.data<std::uint8_t>();
  for (std::int64_t i = 0; i < images.numel(); ++i) {
    pixels[i] = static_cast<std::uint8_t>((static_cast<std::uint64_t>(i) * 2654435761u) >> 13);
  }
  return images;
}

/// A view of the whole image with no random step.
AugmentedView plain_view(const Tensor& images, std::int64_t sample = 0) {
  AugmentedView view{sample, {}};
  view.parameters.crop = {0, 0, static_cast<int>(images.size(1)), static_cast<int>(images.size(2))};
  for (int i = 0; i < 4; ++i) view.parameters.jitter_order[i] = static_cast<JitterStep>(i);
  view.parameters.brightness = view.parameters.contrast = view.parameters.saturation = 1.0f;
  view.parameters.blur_sigma = 1.0f;
  return view;
}

/// A view through every step.
AugmentedView full_view(const Tensor& images, std::int64_t sample = 0) {
  AugmentedView view = plain_view(images, sample);
  AugmentParameters& p = view.parameters;
  p.flip = p.jitter = p.blur = p.solarize = true;
  p.brightness = 1.3f;
  p.contrast = 0.7f;
  p.saturation = 1.15f;
  p.hue = -0.07f;
  return view;
}

Tensor augment_on(Device device, const AugmentOptions& options,
                  const std::vector<AugmentedView>& views, const Tensor& images,
                  const Normalization& normalization = cifar10_normalization()) {
  const Size2 size = options.view_size({images.size(1), images.size(2)});
  Tensor output =
      empty({static_cast<std::int64_t>(views.size()), size.height, size.width, images.size(3)},
            {DType::float32, device});
  augment(options, normalization, views, images.to(device), output);
  return output.to(Device::cpu);
}

/// Largest relative difference between the device's views and those that `apply` makes one by one.
double error_on_device(const AugmentOptions& options, const std::vector<AugmentedView>& views,
                       const Tensor& images, const Normalization& normalization = {}) {
  const ViewFormat format =
      test::view_format(static_cast<int>(images.size(1)), static_cast<int>(images.size(2)),
                        options.size, normalization);
  Tensor expected =
      empty({static_cast<std::int64_t>(views.size()), format.view_height, format.view_width, 3});
  AugmentScratch scratch;
  for (std::size_t v = 0; v < views.size(); ++v) {
    Tensor view = expected.slice(static_cast<std::int64_t>(v), static_cast<std::int64_t>(v) + 1);
    Tensor image = images.slice(views[v].sample, views[v].sample + 1);
    apply(options, format, views[v].parameters, image.data<std::uint8_t>(), view.data<float>(),
          scratch);
  }
  const Normalization used = normalization.mean.empty() ? cifar10_normalization() : normalization;
  return test::relative_error(augment_on(test_device(), options, views, images, used), expected);
}

TEST_CASE("each step on the device, alone, for sizes around the block's and the shared memory's") {
  const Tensor images = random_images(2, 32, 32);
  std::vector<AugmentedView> views;
  const auto add = [&](auto change) {
    views.push_back(plain_view(images, static_cast<std::int64_t>(views.size()) % 2));
    change(views.back().parameters);
  };
  add([](AugmentParameters&) {});
  add([](AugmentParameters& p) { p.flip = true; });
  add([](AugmentParameters& p) { p.grayscale = true; });
  add([](AugmentParameters& p) { p.blur = true; });
  add([](AugmentParameters& p) { p.blur = true, p.blur_sigma = 0.1f; });
  add([](AugmentParameters& p) { p.solarize = true; });
  add([](AugmentParameters& p) { p.brightness = 0.5f; });  // but no jitter
  for (const float factor : {0.0f, 0.6f, 1.4f}) {
    add([=](AugmentParameters& p) { p.jitter = true, p.brightness = factor; });
    add([=](AugmentParameters& p) { p.jitter = true, p.contrast = factor; });
    add([=](AugmentParameters& p) { p.jitter = true, p.saturation = factor; });
    add([=](AugmentParameters& p) { p.jitter = true, p.hue = 0.5f * factor - 0.3f; });
  }
  for (const int size : {1, 2, 7, 8, 17, 32, 63, 64}) {
    CAPTURE(size);
    for (const Interpolation interpolation : interpolations) {
      CHECK(error_on_device({.size = size, .interpolation = interpolation}, views, images) <
            tolerance);
    }
  }
}

TEST_CASE("all orders of the jitter on the device, with every step before and behind it") {
  const Tensor images = random_images(1, 32, 32);
  std::vector<AugmentedView> views;
  JitterStep order[] = {JitterStep::brightness, JitterStep::contrast, JitterStep::saturation,
                        JitterStep::hue};
  do {
    views.push_back(full_view(images));
    std::copy_n(order, 4, views.back().parameters.jitter_order);
    views.back().parameters.grayscale = views.size() % 5 == 0;
  } while (std::next_permutation(order, order + 4));
  REQUIRE(views.size() == 24);
  CHECK(error_on_device({.size = 16}, views, images) < tolerance);
}

TEST_CASE("crops of any place and shape, of images of any shape, on the device") {
  for (const auto& [height, width] : {std::pair{20, 37}, {45, 8}, {5, 3}, {1, 1}}) {
    CAPTURE(height);
    CAPTURE(width);
    const Tensor images = random_images(3, height, width);
    std::vector<AugmentedView> views;
    for (const CropBox box :
         {CropBox{0, 0, height, width}, CropBox{0, 0, 1, 1}, CropBox{height - 1, width - 1, 1, 1},
          CropBox{height / 2, 0, 1, width}, CropBox{0, width / 2, height, 1},
          CropBox{height / 3, width / 3, height - height / 3, width / 2 + 1}}) {
      for (const bool flip : {false, true}) {
        views.push_back(full_view(images, static_cast<std::int64_t>(views.size()) % 3));
        views.back().parameters.crop = box;
        views.back().parameters.flip = flip;
        views.back().parameters.crop.width = std::min(box.width, width - box.left);
      }
    }
    for (const Interpolation interpolation : interpolations) {
      for (const int size : {1, 9, 32}) {
        CHECK(error_on_device({.size = size, .interpolation = interpolation}, views, images) <
              tolerance);
      }
    }
  }
}

TEST_CASE("augmentations on the device, with drawn parameters") {
  const Tensor images = random_images(50, 32, 32);
  AugmentOptions bicubic = test::every_step();
  bicubic.interpolation = Interpolation::bicubic;
  bicubic.blur_probability = 0.0f;
  for (const AugmentOptions& options :
       {test::every_step(), bicubic, AugmentOptions{.random_crop = true, .flip_probability = 0.5f},
        AugmentOptions{}}) {
    std::vector<AugmentedView> views;
    for (std::int64_t i = 0; i < 40; ++i) {
      const std::int64_t sample = (i * 31) % 50;
      views.push_back({sample, draw_parameters(options, 32, 32, {.seed = 3, .sample = sample})});
    }
    CHECK(error_on_device(options, views, images) < tolerance);
    CHECK(test::same_bits(augment_on(test_device(), options, views, images),
                          augment_on(test_device(), options, views, images)));
  }
}

TEST_CASE("more large views than the second-level cache holds, on the device") {
  // 1,500 x 1,500 x 3 floats are 27 MB of a GPU's cache; the emulated one's 1 MiB holds two views.
  const int size = test::pick_size(1500, 200);
  const Tensor images = random_images(5, 30, 40);
  std::vector<AugmentedView> views;
  for (std::int64_t sample = 0; sample < 5; ++sample) views.push_back(full_view(images, sample));
  views[2].parameters.blur = false;
  const test::OneOrder one_order;
  CHECK(error_on_device({.size = size}, views, images) < tolerance);
}

TEST_CASE("oblong views on the device") {
  const Tensor images = random_images(2, 20, 37);
  for (const Size2 size : {Size2(0), Size2(3, 17), Size2(70, 9), Size2(80, 90)}) {
    CAPTURE(size.height);
    CHECK(error_on_device({.size = size}, {full_view(images, 0), full_view(images, 1)}, images) <
          tolerance);
  }
}

TEST_CASE("each channel of images of any number of them is as one of three, on the device") {
  for (const std::int64_t channels : {1, 2, 5}) {
    CAPTURE(channels);
    const Tensor images = random_images(2, 14, 11, channels);
    const Tensor by_channel =
        permute(images.reshape({-1, channels}), {1, 0});  // [channels, pixels]
    std::vector<AugmentedView> views{plain_view(images, 1), full_view(images, 0)};
    views[1].parameters.jitter = false;
    views[1].parameters.crop = {3, 2, 9, 7};
    for (const AugmentOptions& options :
         {AugmentOptions{}, AugmentOptions{.size = {70, 80}},
          AugmentOptions{.size = 9, .interpolation = Interpolation::bicubic}}) {
      Normalization normalization;
      for (std::int64_t c = 0; c < channels; ++c) {
        normalization.mean.push_back(0.1f * static_cast<float>(c + 1));
        normalization.std.push_back(0.5f * static_cast<float>(c + 1));
      }
      const Tensor actual = augment_on(test_device(), options, views, images, normalization);
      for (std::int64_t c = 0; c < channels; ++c) {
        const Tensor plane = by_channel.slice(c, c + 1).reshape({2, 14, 11, 1});
        const float mean = normalization.mean[static_cast<std::size_t>(c)];
        const float std = normalization.std[static_cast<std::size_t>(c)];
        const Tensor expected =
            augment_on(Device::cpu, options, views, concat({plane, plane, plane}, 3),
                       {{mean, mean, mean}, {std, std, std}});
        CHECK(test::relative_error(slice(actual, 3, c, c + 1), slice(expected, 3, 0, 1)) <
              tolerance);
      }
    }
  }
}

TEST_CASE("solarize's threshold and the normalisation are those that are given, on the device") {
  const Tensor images = random_images(1, 12, 12);
  AugmentedView view = plain_view(images);  // the pixels k / 255 come through as they are
  view.parameters.solarize = true;
  CHECK(error_on_device({.solarize_threshold = 100.5f / 255.0f}, {view}, images,
                        {{0.1f, 0.2f, 0.3f}, {0.5f, 1.0f, 2.0f}}) < tolerance);
}

TEST_CASE("no view is no work; what does not fit is told") {
  const Device device = test_device();
  const Tensor images = random_images(3, 8, 10).to(device);
  const AugmentOptions options{.size = 4};
  const auto error = [&](AugmentedView view, Shape shape = {1, 4, 4, 3},
                         DType dtype = DType::float32) {
    Tensor output = empty(shape, {dtype, device});
    return test::error_of([&] { augment(options, {}, std::vector{view}, images, output); });
  };
  Tensor nothing = empty({0, 4, 4, 3}, {DType::float32, device});
  augment(options, {}, {}, images, nothing);

  CHECK(error(plain_view(images, 2)).empty());
  CHECK(error(plain_view(images, 3)) == "[augment] sample 3 does not lie in images [3, 8, 10, 3]");
  CHECK(error(plain_view(images, -1)) ==
        "[augment] sample -1 does not lie in images [3, 8, 10, 3]");
  for (const CropBox box : {CropBox{1, 0, 8, 10}, CropBox{0, 1, 8, 10}, CropBox{-1, 0, 8, 10},
                            CropBox{0, -1, 8, 10}, CropBox{0, 0, 0, 10}, CropBox{0, 0, 8, 0}}) {
    AugmentedView outside = plain_view(images);
    outside.parameters.crop = box;
    CHECK(error(outside).find("does not lie in images [3, 8, 10, 3]") != std::string::npos);
  }
  const std::string place(name(device));
  CHECK(error(plain_view(images), {1, 4, 5, 3}) ==
        "[augment] output must be float32 [1, 4, 4, 3] on " + place +
            ", where the images lie; got float32 [1, 4, 5, 3] on " + place);
  CHECK(error(plain_view(images), {2, 4, 4, 3}).find("got float32 [2") != std::string::npos);
  CHECK(error(plain_view(images), {1, 4, 4, 3}, DType::float64).find("float64") !=
        std::string::npos);
  Tensor output = empty({1, 4, 4, 3}, {DType::float32, device});
  const Tensor floats = zeros({3, 8, 10, 3}, {DType::float32, device});
  CHECK_ERROR(augment(options, {}, std::vector{plain_view(images)}, floats, output),
              "images must be uint8 [N, H, W, C]; got float32 [3, 8, 10, 3]");
  CHECK_ERROR(augment(options, {{0.5f}, {1.0f}}, std::vector{plain_view(images)}, images, output),
              "a mean and a std for each of 3 channels, or none; got 1 and 1");
  const Tensor grey = random_images(1, 8, 10, 1).to(device);
  Tensor grey_output = empty({1, 4, 4, 1}, {DType::float32, device});
  CHECK_ERROR(augment(options, {}, std::vector{full_view(grey)}, grey, grey_output),
              "colour jitter and grayscale need 3 channels; got images [1, 8, 10, 1]");
  if (device != Device::cpu) {
    Tensor on_host = empty({1, 4, 4, 3});
    CHECK_ERROR(augment(options, {}, std::vector{plain_view(images)}, images, on_host),
                "on cuda, where the images lie; got float32 [1, 4, 4, 3] on cpu");
  }
}

}  // namespace
