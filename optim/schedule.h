// Learning rates as pure functions of the step, so that a resumed run needs no state.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace gradus::optim {

/// The learning rate of step t = 0, 1, ...
using Schedule = std::function<double(std::int64_t step)>;

Schedule constant(double lr);

struct StepOptions {
  double lr = 0.1;
  std::vector<std::int64_t> milestones{};  ///< increasing
  double factor = 0.1;
};
/// lr factor^k, k the number of milestones <= t.
Schedule step_decay(const StepOptions& options);

struct CosineOptions {
  double lr = 0.1;
  double final_lr = 0;
  std::int64_t total_steps = 1;
  std::int64_t warmup_steps = 0;  ///< W; 0 starts at lr
  double warmup_start = 0;
  bool reach_peak_early = false;  ///< warm-up ends at step W - 1 instead of W
};
/// With W = warmup_steps, T = total_steps, E = W, or W - 1 with reach_peak_early:
///
///   t < W:  warmup_start + (lr - warmup_start) t / E
///   else:   final_lr + (lr - final_lr) (1 + cos(pi (t - W) / (T - W))) / 2
///
/// and final_lr from T on. Loshchilov and Hutter, "SGDR", ICLR 2017; Goyal et al., "Accurate, large
/// minibatch SGD", 2017.
Schedule cosine(const CosineOptions& options);

}  // namespace gradus::optim
