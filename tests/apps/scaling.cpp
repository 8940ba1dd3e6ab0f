// The model of a step on many GPUs (apps/bench/scaling.h).
#include "bench/scaling.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>

#include "tests/apps/programs.h"
#include "tests/apps/small_model.h"
#include "tests/support/device.h"
#include "tests/support/near.h"
#include "tests/support/thread_processes.h"
#include "vicreg/train_step.h"

using namespace gradus;
using namespace gradus::test;
using bench::Message;

namespace {

std::vector<Message> of_channel(const std::vector<Message>& all, Channel channel) {
  std::vector<Message> some;
  std::copy_if(all.begin(), all.end(), std::back_inserter(some),
               [=](const Message& message) { return message.channel == channel; });
  return some;
}

/// Processes that are there, and record what they exchange.
class RecordingProcesses : public ThreadProcesses {
 public:
  using ThreadProcesses::ThreadProcesses;
  void exchange(Channel channel, int partner, std::span<const std::byte> sent,
                std::span<std::byte> received) override {
    {
      const std::lock_guard lock(mutex_);
      messages.push_back({.channel = channel,
                          .distance = rank() ^ partner,
                          .sent = static_cast<double>(sent.size()),
                          .received = static_cast<double>(received.size()),
                          .launches = 0});
    }
    ThreadProcesses::exchange(channel, partner, sent, received);
  }
  std::vector<Message> messages;

 private:
  std::mutex mutex_;
};

/// A training step of a small model, with 4 images for each member.
void train_step(const std::vector<std::int64_t>& projector, Communicator& communicator) {
  vicreg::TrainOptions options = small_options();
  options.model.projector_widths = projector;
  options.batch_size = 4;
  SmallRun run(options);
  vicreg::TrainStep step(run.options, run.model, *run.optimizer, Device::cpu, true, nullptr,
                         &communicator);
  step.run(zeros({options.views.count * 4, 16, 16, 3}, {}), 0.1);
}

/// Seconds of messages that go a distance: 1 us and 1 GB/s in a node of 2, 10 us and 0.1 GB/s.
const bench::Network network{"any", 2, {1e-6, 1e9}, {10e-6, 1e8}};

Message waited_for(int distance, double bytes, std::size_t launches) {
  return {Channel::foreground, distance, bytes, bytes, launches};
}
Message half_of_bucket(double bytes, std::size_t launches) {
  return {Channel::background, 1, bytes / 2, bytes / 2, launches};
}

}  // namespace

TEST_CASE("scaling: what is counted for one member alone is what members exchange" * cpu_only()) {
  // Embeddings are gathered, and gradients fill two buckets; sums over more images than dimensions.
  for (const std::vector<std::int64_t>& projector :
       {std::vector<std::int64_t>{1024, 1100}, {4, 3}}) {
    for (const int members : {2, 4}) {
      CAPTURE(members);
      const auto step = [&](Communicator& communicator) { train_step(projector, communicator); };
      Mail mail(members);
      RecordingProcesses first(0, members, mail);
      std::vector<std::thread> others;
      for (int rank = 1; rank < members; ++rank)
        others.emplace_back([&, rank] {
          ThreadProcesses own(rank, members, mail);
          run_members(1, &own, step);
        });
      run_members(1, &first, step);
      for (std::thread& other : others) other.join();
      bench::CountingProcesses alone(members);
      run_members(1, &alone, step);
      for (const Channel channel : {Channel::foreground, Channel::background}) {
        const std::vector<Message> real = of_channel(first.messages, channel);
        CHECK(real == of_channel(alone.messages(), channel));
        const std::size_t each = members == 2 ? 2 : 4;  // 2 log2: of a sum
        if (channel == Channel::background)
          CHECK(real.size() == (projector[0] == 4 ? 1 : 2) * each);
        else
          CHECK(real.size() > 10 * each);
      }
    }
  }
}

TEST_CASE("scaling: a sum takes 2 log2 N messages, a short one or a gather log2 N" * cpu_only()) {
  for (const int members : {2, 64, 1024}) {
    const double n = members, steps = std::log2(n);
    bench::CountingProcesses processes(members);
    run_members(1, &processes, [&](Communicator& communicator) {
      const auto check_messages = [&](double count, double bytes) {
        double sent = 0;
        for (const Message& message : processes.messages()) sent += message.sent;
        CHECK(static_cast<double>(processes.messages().size()) == count);
        CHECK(sent == bytes);
        processes.start({});
      };
      Tensor x = zeros({16384}, {}), few = zeros({4096}, {});
      communicator.all_reduce(x);
      check_messages(2 * steps, 2 * (n - 1) / n * 16384 * 4);
      communicator.all_reduce(few);
      check_messages(steps, steps * 4096 * 4);
      communicator.all_gather(few);
      check_messages(steps, (n - 1) * 4096 * 4);
    });
  }
}

TEST_CASE("scaling: a message is waited for by the link between its partners" * cpu_only()) {
  const bench::MemberStep step{.members = 4,
                               .launches = {{1e-3}, {2e-3}},
                               .messages = {waited_for(1, 1e3, 0), waited_for(2, 1e3, 1)}};
  const bench::StepTime time = bench::time_of(step, network);
  CHECK(time.compute == near(3e-3));
  CHECK(time.latency == near(11e-6));
  CHECK(time.bandwidth == near(1e-6 + 10e-6));
  CHECK(time.seconds() == near(3.022e-3));
  CHECK(time.messages == 2);
  CHECK(time.kernels == 2);
  CHECK(time.foreground == 2e3);
}

TEST_CASE("scaling: buckets are summed beside backward, one after another" * cpu_only()) {
  // Two buckets of 2 MB take 2 messages of 1 ms and 1 us each and, of the first one, an addition of
  // 1 us. That one is sent after 3 ms; the second one at 4 ms, and begins when it is done, at 5.003
  // ms.
  bench::MemberStep step{.members = 2,
                         .launches = {{3e-3}, {1e-6, true}, {1e-3}, {1e-3}},
                         .messages = {half_of_bucket(2e6, 1), half_of_bucket(2e6, 2),
                                      half_of_bucket(2e6, 3), half_of_bucket(2e6, 3)}};
  const bench::StepTime time = bench::time_of(step, network);
  CHECK(time.compute == near(5e-3));
  CHECK(time.exposed == near(2.005e-3));
  CHECK(time.hidden == near(2e-3));
  CHECK(time.seconds() == near(5e-3 + 2.005e-3));
  CHECK(time.buckets == 4e6);
  // What backward waits for meanwhile is sent after them, at 7.005 ms and not at 4 ms.
  step.messages.push_back(waited_for(1, 1e6, 3));
  const bench::StepTime waiting = bench::time_of(step, network);
  CHECK(waiting.exposed == near(3.005e-3));
  CHECK(waiting.hidden == near(1e-3));
  CHECK(waiting.seconds() == near(5e-3 + 3.005e-3 + 1.001e-3));
}

TEST_CASE("scaling: efficiency falls as latency grows, and is that of images a second and GPU" *
          cpu_only()) {
  const bench::MemberStep one{.members = 1, .launches = {{1e-3}}, .messages = {}};
  const bench::MemberStep two{
      .members = 2, .launches = {{0.5e-3}}, .messages = {waited_for(1, 0, 0)}};
  double before = 1;
  for (const double latency : {1e-4, 2e-4, 5e-4}) {
    const bench::Network slow{"slow", 2, {latency, 1e9}, {latency, 1e9}};
    const std::vector<bench::Scaling> lines{bench::scaling_of(one, 8, slow, {})};
    CHECK(lines[0].efficiency == 1);
    const double efficiency = bench::scaling_of(two, 4, slow, lines).efficiency;
    CHECK(efficiency == near(0.5e-3 / (0.5e-3 + latency)));
    CHECK(efficiency < before);
    before = efficiency;
  }
}

TEST_SUITE("emulated bench") {
  TEST_CASE("scaling: on one GPU the step is the one of the table of kernels" * gpu_only()) {
    const auto figures = [](const Arguments& arguments) {
      const CommandResult result =
          run_command(file_path("apps/bench/gpu_step"),
                      Arguments{"--bf16", "--batch-size", "4", "--json"} + arguments);
      INFO("output: ", result.output);
      REQUIRE(result.exit_code == 0);
      return nlohmann::json::parse(result.output);
    };
    const nlohmann::json kernels = figures({});
    const nlohmann::json nvlink = figures({"--gpus", "4"});
    for (const char* batch : {"fixed_local_batch", "fixed_global_batch"}) {
      const nlohmann::json& lines = nvlink.at(batch);
      REQUIRE(lines.size() == 3);
      CHECK(lines[0].at("step") == kernels.at("expected"));
      CHECK(lines[0].at("kernels") == kernels.at("calls"));
      CHECK(lines[0].at("efficiency") == 1);
      CHECK(lines[0].at("messages") == 0);
      CHECK(lines[2].at("efficiency") < lines[1].at("efficiency"));
      // All that is exchanged is gathered or summed, so there are log2 N times as many messages.
      CHECK(lines[2].at("messages") == 2 * lines[1].at("messages").get<int>());
      // Of the gradients' bytes 2 (N - 1) / N are sent: 1 and 1.5 times.
      CHECK(lines[2].at("gradient_bytes").get<double>() ==
            near(1.5 * lines[1].at("gradient_bytes").get<double>(), 1e-6));
    }
    CHECK(nvlink.at("fixed_global_batch")[2].at("local_batch") == 1);
    const nlohmann::json infiniband = figures({"--gpus", "2", "--link", "infiniband"});
    CHECK(infiniband.at("fixed_local_batch")[1].at("efficiency") <
          nvlink.at("fixed_local_batch")[1].at("efficiency"));
  }
}
