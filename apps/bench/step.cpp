// Times whole VICReg training steps on random images: forward, loss, backward, Adam.
// usage: step [batch size, default 64] [steps, default 6] [threads, default all]
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "autograd/ops.h"
#include "nn/vicreg_loss.h"
#include "nn/vicreg_model.h"
#include "optim/adam.h"

int main(int argc, char** argv) {
  using namespace gradus;
  const std::int64_t batch = argc > 1 ? std::atoll(argv[1]) : 64;
  const int steps = argc > 2 ? std::atoi(argv[2]) : 6;
  if (argc > 3) omp_set_num_threads(std::atoi(argv[3]));
  if (batch < 2 || steps < 2) {
    fmt::print(stderr, "usage: step [batch size >= 2] [steps >= 2] [threads]\n");
    return 2;
  }
  Generator generator(0);
  nn::VICRegModel model({.projector_widths = {1024, 1024, 1024, 1024}}, generator);
  optim::Adam adam(optim::one_group(model.named_parameters(), 1e-6));
  const Variable images(normal({2 * batch, 32, 32, 3}, 0, 1, generator));
  std::vector<double> seconds;
  std::uint64_t allocations_before_last = 0;
  for (int i = 0; i < steps; ++i) {
    allocations_before_last = memory_stats().system_allocations;
    const auto begin = std::chrono::steady_clock::now();
    const Variable z = model(images);
    const auto loss = nn::vicreg_loss(slice(z, 0, 0, batch), slice(z, 0, batch, 2 * batch));
    adam.zero_grad();
    loss.total.backward();
    adam.step(2e-4);
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(seconds.begin() + 1, seconds.end());  // the first step warms up
  fmt::print(
      "batch {}, {} threads: median step {:.3f} s, peak memory {:.0f} MiB, {} blocks taken "
      "from the system in the last step\n",
      batch, omp_get_max_threads(), seconds[1 + (seconds.size() - 1) / 2],
      static_cast<double>(memory_stats().peak_in_use) / 0x1p20,
      memory_stats().system_allocations - allocations_before_last);
}
