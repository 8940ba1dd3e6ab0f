#include <gradus/optim/schedule.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include <gradus/tensor/check.h>

namespace gradus::optim {
namespace {

void check_rate(double lr) {
  check(std::isfinite(lr) && lr >= 0, "schedule",
        "a learning rate must be finite and not negative; got {}", lr);
}

}  // namespace

Schedule constant(double lr) {
  check_rate(lr);
  return [lr](std::int64_t) { return lr; };
}

Schedule step_decay(const StepOptions& options) {
  check_rate(options.lr);
  check(std::is_sorted(options.milestones.begin(), options.milestones.end()), "step_decay",
        "milestones must increase");
  check(std::isfinite(options.factor) && options.factor >= 0, "step_decay",
        "factor must be finite and not negative; got {}", options.factor);
  return [options](std::int64_t step) {
    const auto passed =
        std::upper_bound(options.milestones.begin(), options.milestones.end(), step);
    const auto count = static_cast<double>(passed - options.milestones.begin());
    return options.lr * std::pow(options.factor, count);
  };
}

Schedule cosine(const CosineOptions& options) {
  check_rate(options.lr);
  check_rate(options.final_lr);
  check_rate(options.warmup_start);
  check(options.warmup_steps >= 0 && options.total_steps > options.warmup_steps, "cosine",
        "total_steps must exceed warmup_steps >= 0; got {} and {}", options.total_steps,
        options.warmup_steps);
  return [options](std::int64_t step) {
    const auto& [lr, final_lr, total, warmup, start, early] = options;
    if (step < warmup) {
      // A warm-up of one step with its peak at step 0 would divide 0 by 0: it is the start alone.
      const auto end = static_cast<double>(std::max<std::int64_t>(early ? warmup - 1 : warmup, 1));
      return start + (lr - start) * static_cast<double>(step) / end;
    }
    const double progress =
        static_cast<double>(std::min(step, total) - warmup) / static_cast<double>(total - warmup);
    return final_lr + (lr - final_lr) * (1 + std::cos(std::numbers::pi * progress)) / 2;
  };
}

}  // namespace gradus::optim
