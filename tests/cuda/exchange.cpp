// Exchanges of GPUs, in ordinary and in recorded work: one process, and a partner that is played.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <vector>

#include <gradus/tensor/communicator.h>
#include <gradus/tensor/ops.h>
#include <gradus/tensor/repeated_work.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

/// Process 0 of 2, whose partner is a function that answers each message at once.
class PlayedPartner : public Processes {
 public:
  PlayedPartner() : Processes(0, 2) {}
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  void exchange(Channel channel, int partner, std::span<const std::byte> sent,
                std::span<std::byte> received) override {
    CHECK(channel == Channel::gpu);
    CHECK(partner == 1);
    ++exchanges;
    answer(sent, received);
  }
  void abort(int) override {}

  std::atomic<int> exchanges = 0;
  std::function<void(std::span<const std::byte>, std::span<std::byte>)> answer;
};

std::span<const float> floats(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}
std::span<float> floats(std::span<std::byte> bytes) {
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

/// Answers as a partner does whose n numbers are all 2. Of a short sum, with these. Of another one,
/// with those of the lower half, in one message or more, and when it has got the upper half, with
/// the sums there.
struct Twos {
  std::int64_t n;
  std::vector<float> upper = {};
  std::size_t answered = 0;

  void operator()(std::span<const std::byte> sent, std::span<std::byte> received) {
    const auto in = floats(sent);
    const auto out = floats(received);
    if (n < 8192) return std::fill(out.begin(), out.end(), 2.0f);
    if (static_cast<std::int64_t>(upper.size()) < n - n / 2) {
      upper.insert(upper.end(), in.begin(), in.end());
      std::fill(out.begin(), out.end(), 2.0f);
      return;
    }
    for (float& sum : out) sum = upper[answered++] + 2;
    if (answered == upper.size()) *this = {n};
  }
};

void in_process_of_two(PlayedPartner& partner, const std::function<void(Communicator&)>& body) {
  run_members(1, &partner, body);
}

}  // namespace

TEST_SUITE_BEGIN("exchange" * gpu_only());

TEST_CASE(
    "sums over processes are replayed, beside other work and joined where they are waited for") {
  // A short sum, and more bytes than an exchange takes at a time.
  for (const std::int64_t n : {7, pick_size(3'000'001, 2'200'001)}) {
    for (const bool late : {false, true}) {
      CAPTURE(n);
      CAPTURE(late);
      const LateBranches order(late);
      const OneOrder fast;
      PlayedPartner partner;
      partner.answer = Twos{n};
      in_process_of_two(partner, [&](Communicator& communicator) {
        const Tensor x = on_device(random_tensor<float>({n}, 1));
        Tensor sum = empty({n}, options_of(x)), other = empty({n}, options_of(x));
        RepeatedWork work(Device::cuda, [&] {
          Tensor y = affine(x, 3, 1);
          const auto started = communicator.start_all_reduce(y);
          other.copy_from(affine(x, 5, 0));
          started.get();
          sum.copy_from(y);
        });
        const Tensor expected = affine(x, 3, 3), expected_other = affine(x, 5, 0);
        for (int run = 0; run < 5; ++run) {
          sum.fill(0);
          other.fill(0);
          work.run();
          CHECK(max_difference(sum, expected) < 1e-5);
          CHECK(same_bits(other, expected_other));
        }
        CHECK(work.failure() == "");
        CHECK(work.replays());
      });
      CHECK(partner.exchanges == 5 * (n == 7 ? 1 : 4));
    }
  }
}

TEST_CASE("a sum is begun without waiting for the one before") {
  if (!on_emulator()) return;  // a GPU may run the sum before the copy
  const LateBranches order(true);
  PlayedPartner partner;
  partner.answer = Twos{7};
  in_process_of_two(partner, [&](Communicator& communicator) {
    const Tensor x = on_device(random_tensor<float>({7}, 1));
    Tensor seen = empty({7}, options_of(x)), sum = empty({7}, options_of(x));
    RepeatedWork work(Device::cuda, [&] {
      Tensor first = affine(x, 3, 1), second = affine(x, 5, 0);
      const auto first_started = communicator.start_all_reduce(first);
      const auto second_started = communicator.start_all_reduce(second);
      seen.copy_from(first);  // nothing has been waited for: it need not be the sum
      first_started.get();
      second_started.get();
      sum.copy_from(first);
    });
    for (int run = 0; run < 4; ++run) work.run();
    CHECK(work.replays());
    CHECK(same_bits(seen, affine(x, 3, 1)));
    CHECK(max_difference(sum, affine(x, 3, 3)) < 1e-5);
  });
}

TEST_CASE("gathers and broadcasts are replayed") {
  PlayedPartner partner;
  in_process_of_two(partner, [&](Communicator& communicator) {
    Tensor x = on_device(random_tensor<float>({3, 5}, 2));
    Tensor all = empty({2, 3, 5}, options_of(x)), root = empty({3, 5}, options_of(x));
    partner.answer = [](std::span<const std::byte> sent, std::span<std::byte> received) {
      if (sent.empty()) return floats(received).front() = 9, void();
      for (std::size_t i = 0; i < floats(received).size(); ++i)
        floats(received)[i] = 2 * floats(sent)[i];
    };
    RepeatedWork work(Device::cuda, [&] {
      all.copy_from(communicator.all_gather(x));
      Tensor y = x.clone();
      communicator.broadcast(y, 1);
      root.copy_from(y);
    });
    for (int run = 0; run < 4; ++run) {
      all.fill(0);
      x.fill(run);  // what the recorded work reads
      work.run();
      const auto values = all.to_vector<float>();
      CHECK(values.front() == run);
      CHECK(values.back() == 2 * run);
      CHECK(root.to_vector<float>().front() == 9);
    }
    CHECK(work.replays());
  });
}

TEST_SUITE_END();
