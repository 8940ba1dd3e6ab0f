#include <gradus/optim/adam.h>
#include "check.h"

GRADUS_EXERCISE {
  using namespace gradus;
  const std::vector<float> start = numbers(5);
  std::vector<float> p = start, m(5), v(5);
  Variable parameter(from_vector(start, {5}), true);
  optim::Adam adam({{"p", &parameter}}, {.lr = 0.1});
  for (int t = 1; t <= 4; ++t) {
    std::vector<float> g = numbers(5, static_cast<unsigned>(t));
    g[0] = 0;      // which is 0 / 0 without eps,
    g[1] = 1e-7f;  // and beside which eps is not small
    parameter.set_grad(from_vector(g, {5}));
    adam.step();
    adam_step(p, g, m, v, t, 0.1f);
    expect_near(fmt::format("after step {}, p", t), p, parameter.value().to_vector<float>(), 1e-4,
                t == 1
                    ? "in the first step mhat = g and vhat = g^2: each element moves by about lr. "
                      "But p[0], whose g is 0, stays, and p[1], whose g is 1e-7, moves by "
                      "lr / 1.1: eps is added to the root, and not under it"
                    : "m and v must be kept for the next step, and t is in both corrections");
  }
}
