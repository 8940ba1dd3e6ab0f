#include <gradus/optim/schedule.h>
#include "check.h"

GRADUS_EXERCISE {
  for (const int warmup : {0, 10}) {
    const auto schedule =
        gradus::optim::cosine({.lr = 0.3, .total_steps = 100, .warmup_steps = warmup});
    for (int t = 0; t < 120; ++t) {
      const std::string hint =
          t < warmup ? "warm-up: lr t / W; multiply first, for t / warmup is 0 in whole numbers"
          : t < 100
              ? "the cosine falls from lr at t = W to 0 at t = T; its argument is no whole number"
              : "after the last step the rate is 0";
      expect_near(fmt::format("the rate of step {} with {} steps of warm-up", t, warmup),
                  cosine(t, 0.3, warmup, 100), schedule(t), 1e-9, hint);
    }
  }
}
