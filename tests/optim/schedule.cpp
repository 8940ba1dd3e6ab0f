#include <gradus/optim/schedule.h>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include <gradus/tensor/check.h>
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::optim;
using gradus::test::Near;

namespace {

Near rounded(double value) { return test::near(value, 1e-15); }

}  // namespace

TEST_CASE("constant and step schedules") {
  CHECK(constant(0.3)(0) == 0.3);
  CHECK(constant(0.3)(1'000'000) == 0.3);
  const Schedule steps = step_decay({.lr = 2, .milestones = {60, 80}, .factor = 0.1});
  CHECK(steps(0) == 2);
  CHECK(steps(59) == 2);
  CHECK(steps(60) == rounded(0.2));
  CHECK(steps(79) == rounded(0.2));
  CHECK(steps(80) == rounded(0.02));
  CHECK(step_decay({.lr = 1})(100) == 1);
}

TEST_CASE("cosine without warm-up") {
  const Schedule lr = cosine({.lr = 0.4, .final_lr = 0.1, .total_steps = 100});
  CHECK(lr(0) == rounded(0.4));
  CHECK(lr(50) == rounded(0.25));
  CHECK(lr(25) == rounded(0.1 + 0.3 * (1 + std::cos(std::numbers::pi / 4)) / 2));
  CHECK(lr(100) == rounded(0.1));
  CHECK(lr(1000) == rounded(0.1));
}

TEST_CASE("warm-up from 0, which step W ends, and down to a rate above 0") {
  constexpr double B = 0.2;
  const Schedule lr =
      cosine({.lr = B, .final_lr = 0.001 * B, .total_steps = 110, .warmup_steps = 10});
  CHECK(lr(0) == 0);
  CHECK(lr(1) == rounded(B / 10));
  CHECK(lr(9) == rounded(B * 0.9));
  CHECK(lr(10) == rounded(B));
  const double q = (1 + std::cos(std::numbers::pi * 37 / 100)) / 2;
  CHECK(lr(47) == rounded(B * q + 0.001 * B * (1 - q)));
  CHECK(lr(60) == rounded(B * 0.5 + 0.001 * B * 0.5));
  CHECK(lr(110) == rounded(0.001 * B));
}

/// Warm-up from 3e-5 to 0.3, which step W - 1 ends.
Schedule early_peak(std::int64_t warmup_steps, std::int64_t total_steps) {
  return cosine({.lr = 0.3,
                 .total_steps = total_steps,
                 .warmup_steps = warmup_steps,
                 .warmup_start = 3e-5,
                 .reach_peak_early = true});
}

TEST_CASE("warm-up from a rate above 0, which step W - 1 ends, and down to 0") {
  const Schedule lr = early_peak(10, 110);
  CHECK(lr(0) == rounded(3e-5));
  CHECK(lr(3) == rounded(3e-5 + 3 * (0.3 - 3e-5) / 9));
  CHECK(lr(9) == rounded(0.3));
  CHECK(lr(10) == rounded(0.3));
  CHECK(lr(60) == rounded(0.15));
  CHECK(lr(110) == 0);
}

TEST_CASE("the shortest warm-ups") {
  CHECK(early_peak(1, 3)(0) == rounded(3e-5));
  CHECK(early_peak(1, 3)(1) == rounded(0.3));
  CHECK(early_peak(0, 2)(0) == rounded(0.3));
  const Schedule late = cosine({.lr = 0.3, .total_steps = 3, .warmup_steps = 1});
  CHECK(late(0) == 0);
  CHECK(late(1) == rounded(0.3));
}

TEST_CASE("bad schedules are errors") {
  CHECK_THROWS_AS(constant(-1), Error);
  CHECK_THROWS_AS(constant(NAN), Error);
  CHECK_THROWS_AS(step_decay({.lr = 1, .milestones = {3, 2}}), Error);
  CHECK_THROWS_AS(step_decay({.lr = 1, .factor = NAN}), Error);
  CHECK_THROWS_AS(step_decay({.lr = -1}), Error);
  for (const double bad : {-1.0, double{NAN}, double{INFINITY}}) {
    CHECK_THROWS_AS(cosine({.lr = bad, .total_steps = 10}), Error);
    CHECK_THROWS_AS(cosine({.lr = 1, .final_lr = bad, .total_steps = 10}), Error);
    CHECK_THROWS_AS(cosine({.lr = 1, .total_steps = 10, .warmup_start = bad}), Error);
  }
  CHECK_THROWS_AS(cosine({.lr = 1, .total_steps = 0}), Error);
  CHECK_THROWS_AS(cosine({.lr = 1, .total_steps = 10, .warmup_steps = 10}), Error);
  CHECK_THROWS_AS(cosine({.lr = 1, .total_steps = 10, .warmup_steps = -1}), Error);
}
