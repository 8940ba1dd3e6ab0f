// Which training steps are recorded and replayed.
#include "vicreg/train_step.h"

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include <doctest/doctest.h>
#include <fmt/format.h>

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

/// The partner has the same images and weights, and so the same sums.
class EqualPartner : public SilentPartner {
 public:
  void exchange(Channel, int, std::span<const std::byte> sent,
                std::span<std::byte> received) override {
    for (std::size_t i = 0; i < received.size(); ++i)
      received[i] = sent.empty() ? std::byte{0} : sent[i % sent.size()];
  }
};

/// Weights, losses and embeddings of six full batches, half of one, and two more full ones.
std::map<std::string, Tensor> trained(bool replay, Communicator& shards) {
  vicreg::TrainOptions options = small_options();
  options.batch_size = 8;
  SmallRun run(options);
  run.model.to(test_device());
  vicreg::TrainStep step(run.options, run.model, *run.optimizer, test_device(), replay, nullptr,
                         &shards);
  const std::int64_t images = options.views.count * options.batch_size / shards.size();
  std::map<std::string, Tensor> results;
  for (std::uint64_t i = 0; i < 9; ++i) {
    const Tensor views = on_device(random_tensor<float>({images, 16, 16, 3}, i));
    step.run(i == 6 ? views.slice(0, images / 2) : views, 0.01);
    results[fmt::format("loss {}", i)] =
        from_vector<double>({step.to_terms(step.loss()).total}, {1});
    results[fmt::format("embeddings {}", i)] = step.embeddings().to(Device::cpu);
  }
  CHECK(step.replays() == (replay && test_device() == Device::cuda));
  for (const NamedParameter& parameter : run.model.parameters())
    results[parameter.name] = parameter.variable->value().to(Device::cpu);
  return results;
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

  TEST_CASE("replayed steps that exchange sums have the bits of steps that are not replayed") {
    EqualPartner processes;
    run_members(1, &processes, [&](Communicator& shards) {
      const auto replayed = trained(true, shards), eager = trained(false, shards);
      REQUIRE(replayed.size() > 18);
      CHECK(same_tensors(replayed, eager));
      CHECK(!same_bits(eager.at("loss 0"), eager.at("loss 8")));
    });
  }
}
