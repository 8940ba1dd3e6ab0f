#include <gradus/tensor/shape.h>

#include <limits>

#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;

TEST_SUITE_BEGIN("shape" * test::cpu_only());

TEST_CASE("a shape knows its axes, from both ends") {
  const Shape shape{8, 32, 3};
  CHECK(shape.rank() == 3);
  CHECK(shape[0] == 8);
  CHECK(shape[-1] == 3);
  CHECK(shape[-3] == 8);
  CHECK(shape.normalize(-2) == 1);
  CHECK(to_string(shape) == "[8, 32, 3]");
  CHECK(fmt::format("{}", Shape{5}) == "[5]");
}

TEST_CASE("a shape's size is the product of its axes, and a scalar's is 1") {
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{}.rank() == 0);
  CHECK(to_string(Shape{}) == "[]");
  CHECK(Shape{7}.numel() == 7);
  CHECK(Shape{2, 3, 5}.numel() == 30);
  CHECK(Shape{2, 0, 5}.numel() == 0);
}

TEST_CASE("shapes are equal if rank and sizes are") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK_FALSE(Shape{2, 3} == Shape{3, 2});
  CHECK_FALSE(Shape{2, 3} == Shape{2, 3, 1});
  CHECK_FALSE(Shape{} == Shape{1});
  CHECK_FALSE(Shape{0} == Shape{});
}

TEST_CASE("bad shapes and axes are errors") {
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max() / 2;
  CHECK_ERROR((Shape{2, -1}), "[shape] sizes must not be negative; got -1 at axis 1");
  Shape changed{2, 3};
  changed[0] = -2;
  CHECK_ERROR(changed.numel(), "[shape] [-2, 3] has a negative size");
  changed[1] = -3;
  CHECK_ERROR(changed.numel(), "[shape] [-2, -3] has a negative size");
  CHECK_ERROR((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), "[shape] at most 8 axes are supported");
  CHECK_ERROR((Shape{huge, 3}.numel()), "more elements than can be counted");
  CHECK_ERROR((Shape{2, 3}[2]), "[shape] axis 2 is out of range for shape [2, 3]");
  CHECK_ERROR((Shape{2, 3}[-3]), "[shape] axis -3 is out of range for shape [2, 3]");
  CHECK_ERROR(Shape{}[0], "[shape] axis 0 is out of range for shape []");
}

TEST_CASE("shapes broadcast from the last axis") {
  const auto both = [](const Shape& a, const Shape& b) {
    CHECK(broadcast_shapes("test", a, b) == broadcast_shapes("test", b, a));
    return broadcast_shapes("test", a, b);
  };
  CHECK(both({2, 3}, {2, 3}) == Shape{2, 3});
  CHECK(both({2, 3}, {3}) == Shape{2, 3});
  CHECK(both({2, 3}, {}) == Shape{2, 3});
  CHECK(both({2, 1}, {1, 3}) == Shape{2, 3});
  CHECK(both({4, 1, 3}, {2, 1}) == Shape{4, 2, 3});
  CHECK(both({0}, {1}) == Shape{0});
  CHECK(both({}, {}) == Shape{});
  CHECK_ERROR(
      broadcast_shapes("add", {2, 3}, {2}),
      "[add] shapes must broadcast (equal sizes or 1, aligned at the last axis); got [2, 3] "
      "and [2]");
  CHECK_ERROR(broadcast_shapes("add", {0}, {2}), "got [0] and [2]");
}

TEST_CASE("axes become a mask; none means all") {
  const Shape shape{2, 3, 4};
  const auto all = Axes{}.mask("sum", shape);
  CHECK((all[0] && all[1] && all[2] && !all[3]));
  const auto ends = Axes{0, -1}.mask("sum", shape);
  CHECK((ends[0] && !ends[1] && ends[2]));
  CHECK_ERROR(Axes{3}.mask("sum", shape), "[sum] axis 3 is out of range for shape [2, 3, 4]");
  CHECK_ERROR(Axes{-4}.mask("sum", shape), "[sum] axis -4 is out of range for shape [2, 3, 4]");
  CHECK_ERROR((Axes{2, -1}.mask("sum", shape)), "[sum] axis -1 is given twice");
  CHECK_ERROR((Axes{0, 1, 2, 3, 4, 5, 6, 7, 8}), "[axes] at most 8 axes are supported");
}

TEST_CASE("an error carries the path of the modules that it passed, and the class of the first") {
  Error error("[conv2d] bad");
  error.prepend_path("conv1", "Conv2d");
  error.prepend_path("", "Sequential");
  error.prepend_path("encoder", "ResNet");
  CHECK(error.path() == "encoder.conv1");
  CHECK(error.message() == "[conv2d] bad");
  CHECK(std::string(error.what()) == "encoder.conv1 (Conv2d): [conv2d] bad");
}

TEST_SUITE_END();
