// Which training steps are recorded and replayed.
#include "vicreg/train_step.h"

#include <doctest/doctest.h>

#include <gradus/tensor/communicator.h>
#include "tests/apps/small_model.h"
#include "tests/support/device.h"
#include "tests/support/numbers.h"
#include "tests/support/silent_partner.h"

namespace {

using namespace gradus;
using namespace gradus::test;

/// Makes four steps with batches of 8 images, or this member's part of them, and then one of a
/// smaller batch. Returns whether the full ones are replayed.
bool is_replayed(Communicator* shards) {
  vicreg::TrainOptions options = small_options();
  options.batch_size = 8;
  SmallRun run(options);
  run.model.to(test_device());
  vicreg::TrainStep step(run.options, run.model, *run.optimizer, test_device(), true, nullptr,
                         shards);
  const std::int64_t members = shards == nullptr ? 1 : shards->size();
  const Tensor views =
      on_device(random_tensor<float>({options.views.count * 8 / members, 16, 16, 3}, 1));
  for (int i = 0; i < 4; ++i) step.run(views, 0.01);
  CHECK(step.capture_failure() == "");
  const bool replays = step.replays();
  step.run(views.slice(0, views.size(0) / 2), 0.01);
  CHECK(step.embeddings().size(0) == views.size(0) / 2);
  return replays;
}

}  // namespace

TEST_SUITE("device") {
  TEST_CASE("full batches are replayed on a GPU, and so is a member's part of them") {
    const bool can_replay = test_device() == Device::cuda;
    CHECK(is_replayed(nullptr) == can_replay);
    SilentPartner processes;
    run_members(1, &processes,
                [&](Communicator& shards) { CHECK(is_replayed(&shards) == can_replay); });
  }
}
