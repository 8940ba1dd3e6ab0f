// Learning rates as pure functions of the step, so that a resumed run needs no state. Rates must be
// finite and not negative: an Error otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace gradus::optim {

/// The learning rate of step t = 0, 1, ...
using Schedule = std::function<double(std::int64_t step)>;

/// lr at every step.
Schedule constant(double lr);

/// Of step_decay.
struct StepOptions {
  double lr = 0.1;                         ///< before the first milestone
  std::vector<std::int64_t> milestones{};  ///< steps, in increasing order
  double factor = 0.1;                     ///< finite, not negative
};
/// lr factor^k, k the number of milestones <= t.
Schedule step_decay(const StepOptions& options);

/// Of cosine.
struct CosineOptions {
  double lr = 0.1;                ///< the peak
  double final_lr = 0;            ///< from step T on
  std::int64_t total_steps = 1;   ///< T > W
  std::int64_t warmup_steps = 0;  ///< W >= 0; 0 starts at lr
  double warmup_start = 0;        ///< of step 0, if W > 0
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
