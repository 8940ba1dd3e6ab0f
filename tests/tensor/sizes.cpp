// Sizes near the ends of int64: an Error or the right result, never an overflow.
#include <doctest/doctest.h>

#include <limits>

#include <gradus/autograd/ops.h>
#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::test;

namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();

Tensor image(std::int64_t channels = 1) { return ones({1, 8, 8, channels}, device_options()); }
Tensor weight(std::int64_t side, std::int64_t channels = 1) {
  return ones({channels, side, side, channels}, device_options());
}

}  // namespace

TEST_CASE("convolutions with huge options") {
  for (const std::int64_t channels : {1, 16}) {
    const Tensor x = image(channels), w = weight(3, channels), point = weight(1, channels);
    for (const std::int64_t huge : {most, most / 2, std::int64_t{1} << 62, std::int64_t{1} << 32}) {
      CAPTURE(huge);
      CHECK_ERROR(conv2d(x, w, {}, {.dilation = huge}), "the kernel is larger");
      CHECK_ERROR(conv2d(x, w, {}, {.padding = huge}), "pixels with a padding of");
      CHECK_ERROR(conv2d(x, w, {}, {.padding = huge, .dilation = huge}), "pixels with a padding");
      CHECK_ERROR(conv2d_backward_weight(x, x, {channels, huge, 1, channels}), "[");
      // One output position, whatever the stride; a single tap, whatever the dilation.
      const Conv2dOptions strided{.stride = huge, .padding = 1, .dilation = 1};
      const Tensor y = conv2d(x, w, {}, strided);
      CHECK(same_bits(y, full({1, 1, 1, channels}, 4.0 * static_cast<double>(channels))));
      const Tensor dx = conv2d_backward_input(y, w, x.shape(), strided);
      const Tensor expected = conv2d_backward_input(y, w, x.shape(), {.stride = 9, .padding = 1});
      CHECK(max_difference(dx, expected) == 0);
      CHECK(max_difference(conv2d_backward_weight(y, x, w.shape(), strided),
                           conv2d_backward_weight(y, x, w.shape(), {.stride = 9, .padding = 1})) ==
            0);
      CHECK(max_difference(conv2d(x, point, {}, {.dilation = huge}), conv2d(x, point)) == 0);
    }
  }
  CHECK_ERROR(conv2d(image(), weight(1), {}, {.padding = std::int64_t{1} << 30}),
              "pixels with a padding");
  CHECK_ERROR(conv2d(image(), weight(1), {}, {.padding = (std::int64_t{1} << 30) - 8}),
              "more bytes than can be addressed");
  CHECK_ERROR(conv2d(image(), weight(1), {}, {.groups = most}), "groups");
  const Conv2dOptions sparse{.stride = 1'000'000, .padding = 1'000'000};  // three by three outputs
  const Tensor few = conv2d(image(), weight(1), {}, sparse);
  CHECK(few.shape() == Shape{1, 3, 3, 1});
  CHECK(doubles_of(few) == std::vector<double>{0, 0, 0, 0, 1, 0, 0, 0, 0});
  const Tensor back =
      conv2d_backward_input(ones({1, 3, 3, 1}, device_options()), weight(1), {1, 8, 8, 1}, sparse);
  CHECK(doubles_of(sum(back))[0] == 1);
}

TEST_CASE("pools with huge options") {
  const Tensor x = image();
  for (const std::int64_t huge : {most, most / 2, std::int64_t{1} << 62, std::int64_t{1} << 32}) {
    CAPTURE(huge);
    CHECK_ERROR(max_pool2d(x, {.kernel = huge}), "the kernel is larger");
    CHECK_ERROR(max_pool2d(x, {.padding = huge}), "at most half the kernel");
    CHECK_ERROR(avg_pool2d(x, {.kernel = huge, .padding = huge / 2}), "pixels with a padding of");
    const Tensor y = max_pool2d(x, {.stride = huge}).values;
    CHECK(y.shape() == Shape{1, 1, 1, 1});
    const Tensor dx = avg_pool2d_backward(y, x.shape(), {.stride = huge});
    CHECK(doubles_of(sum(dx))[0] == 1);
  }
  // A window far larger than the image averages over all of its own size.
  const std::int64_t wide = 100'000;
  const Pool2dOptions options{.kernel = wide, .stride = wide, .padding = wide / 2};
  CHECK(doubles_of(avg_pool2d(x, options))[0] ==
        near(64 / 1e10));  // one window, around the image of 8 x 8
  CHECK(doubles_of(sum(avg_pool2d_backward(avg_pool2d(x, options), x.shape(), options)))[0] ==
        near(64 * 64 / 1e20));
}

TEST_CASE("shapes whose products overflow, with and without a size of 0") {
  const std::int64_t half = std::int64_t{1} << 32;
  CHECK_ERROR((Shape{half, half}.numel()), "more elements than can be counted");
  CHECK_ERROR((Shape{0, half, half}.numel()), "more elements than can be counted");
  CHECK_ERROR((Shape{half, half, 0}.numel()), "more elements than can be counted");
  CHECK(Shape{0, half, 5}.numel() == 0);
  const Tensor empty_wide = zeros({0, half, 4}, device_options());
  CHECK(sum(empty_wide, {1}).shape() == Shape{0, 4});
  CHECK(transpose(empty_wide).shape() == Shape{0, 4, half});
  CHECK(flatten(Variable(empty_wide)).shape() == Shape{0, 4 * half});
  const Tensor longest = zeros({most, 0}, device_options());
  CHECK_ERROR(concat({longest, longest}), "[concat] axis 0 has more elements than can be counted");
  CHECK_ERROR(slice_backward(zeros({1}), {4}, 0, most), "[slice_backward] [");
}

TEST_CASE("tensors that no memory holds are errors") {
  for (const std::int64_t count : {most, std::int64_t{1} << 60, std::int64_t{1} << 50}) {
    CAPTURE(count);
    CHECK_ERROR(arange(0, count), "[");
    CHECK_ERROR(zeros({count}), "[");
    Generator generator(1);
    CHECK_ERROR(permutation(count, generator), "[");
    CHECK_ERROR(uniform({count}, 0, 1, generator), "[");
    CHECK(generator.position() == 0);
    CHECK_ERROR(one_hot(zeros({4}, {DType::int64}), count), "[");
  }
  CHECK_ERROR(arange(std::numeric_limits<std::int64_t>::min(), most),
              "[arange] [-9223372036854775808, 9223372036854775807) has more elements than");
  CHECK_ERROR(arange(-most, most), "more elements than can be counted");
  CHECK(arange(most - 2, most).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{most - 2, most - 1});
}
