#include "bench/scaling.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/program.h"

namespace gradus::bench {
namespace {

// The rates are NCCL's, whose maintainers name 370 of NVLink's 450 GB/s in each direction
// (github.com/NVIDIA/nccl-tests, issue 212) and 46 to 48 GB/s of InfiniBand's 400 Gb/s (issue 290).
// 3.7 us is what sendrecv_perf reports of 1 KiB over NVLink, replayed as a graph on H800s
// (github.com/NVIDIA/nccl, issue 1984). Over InfiniBand it is assumed to be longer by the 2.7 us
// that NCCL reckons with for a hop between nodes (hwLat in its src/graph/tuning.cc, ring, LL).
constexpr Link nvlink{.latency = 3.7e-6, .bandwidth = 370e9};
constexpr Link infiniband{.latency = 6.4e-6, .bandwidth = 47e9};

const Link& link_of(const Message& message, const Network& network) {
  return message.distance < network.node ? network.within : network.between;
}

double transfer_seconds(const Message& message, const Network& network) {
  return std::max(message.sent, message.received) / link_of(message, network).bandwidth;
}

}  // namespace

const std::vector<Network>& networks() {
  static const std::vector<Network> all{{"nvlink", 8, nvlink, infiniband},
                                        {"infiniband", 1, infiniband, infiniband}};
  return all;
}

void CountingProcesses::exchange(Channel channel, int partner, std::span<const std::byte> sent,
                                 std::span<std::byte> received) {
  if (!received.empty()) std::memset(received.data(), 0, received.size());
  const bool counts = channel == Channel::foreground && launches_;
  record(channel, partner, sent.size(), received.size(), counts ? launches_() : 0);
}

void CountingProcesses::exchange_on_gpu(Channel channel, int partner,
                                        std::span<const std::byte> sent,
                                        std::span<std::byte> received) {
  record(channel, partner, sent.size(), received.size(), launches_ ? launches_() : 0);
}

void CountingProcesses::record(Channel channel, int partner, std::size_t sent, std::size_t received,
                               std::size_t launches) {
  const std::lock_guard lock(mutex_);
  messages_.push_back({.channel = channel,
                       .distance = partner,  // of rank 0
                       .sent = static_cast<double>(sent),
                       .received = static_cast<double>(received),
                       .launches = launches});
}

void CountingProcesses::start(std::function<std::size_t()> launches) {
  launches_ = std::move(launches);
  messages_.clear();
}

StepTime time_of(const MemberStep& step, const Network& network) {
  StepTime time;
  time.kernels = static_cast<std::int64_t>(step.launches.size());
  // When the member's stream, and that of exchanges, have done what they were given.
  double now = 0, free = 0;
  double sums = 0;             // of gradients
  bool is_waited_for = false;  // the message before
  const auto send = [&](const Message& message) {
    const double latency = link_of(message, network).latency;
    const double transfer = transfer_seconds(message, network);
    is_waited_for = message.channel != Channel::background;
    const double begin = std::max(free, now);
    free = begin + latency + transfer;
    if (!is_waited_for) {
      time.buckets += message.sent;
      sums += latency + transfer;
      return;
    }
    time.foreground += message.sent;
    time.exposed += begin - now;  // by the buckets before it
    time.latency += latency;
    time.bandwidth += transfer;
    ++time.messages;
    now = free;
  };
  auto message = step.messages.begin();
  for (std::size_t i = 0; i <= step.launches.size(); ++i) {
    for (; message != step.messages.end() && message->launches == i; ++message) send(*message);
    if (i == step.launches.size()) break;
    const Launch& launch = step.launches[i];
    if (launch.adds && !is_waited_for) {
      free += launch.seconds;
      sums += launch.seconds;
    } else {
      now += launch.seconds;
      time.compute += launch.seconds;
    }
  }
  time.exposed += std::max(0.0, free - now);
  time.hidden = sums - time.exposed;
  return time;
}

Scaling scaling_of(const MemberStep& step, std::int64_t batch, const Network& network,
                   const std::vector<Scaling>& before) {
  const StepTime time = time_of(step, network);
  const auto images_a_second = [](std::int64_t images, const StepTime& t) {
    return static_cast<double>(images) / t.seconds();
  };
  const double one = before.empty() ? images_a_second(batch, time)
                                    : images_a_second(before[0].batch, before[0].time);
  return {step.members, batch, time, images_a_second(batch, time) / one};
}

void print_table(std::string_view title, const std::vector<Scaling>& lines) {
  fmt::print("{}\n{:>30} | {:^30} | {:^25} |\n", title, "", "exposed exchanges", "gradients");
  fmt::print("{:>5} {:>6} {:>8} {:>8} | {:>8} {:>10} {:>10} | {:>6} {:>8} {:>9} | {:>8} {}\n",
             "GPUs", "batch", "kernels", "compute", "messages", "latency", "bandwidth", "MB",
             "hidden", "exposed", "step", "efficiency");
  for (const auto& [gpus, batch, t, efficiency] : lines)
    fmt::print(
        "{:>5} {:>6} {:>8} {:>8.3f} | {:>8} {:>10.3f} {:>10.3f} | {:>6.1f} {:>8.3f} {:>9.3f} | "
        "{:>8.3f} {:>8.1f} %\n",
        gpus, batch, t.kernels, 1e3 * t.compute, t.messages, 1e3 * t.latency, 1e3 * t.bandwidth,
        t.buckets / 1e6, 1e3 * t.hidden, 1e3 * t.exposed, 1e3 * t.seconds(), 100 * efficiency);
}

nlohmann::ordered_json to_json(const std::vector<Scaling>& lines) {
  nlohmann::ordered_json records = nlohmann::ordered_json::array();
  for (const auto& [gpus, batch, t, efficiency] : lines)
    records.push_back({{"gpus", gpus},
                       {"local_batch", batch},
                       {"kernels", t.kernels},
                       {"compute", t.compute},
                       {"messages", t.messages},
                       {"message_bytes", t.foreground},
                       {"exposed_latency", t.latency},
                       {"exposed_bandwidth", t.bandwidth},
                       {"gradient_bytes", t.buckets},
                       {"gradients_hidden", t.hidden},
                       {"gradients_exposed", t.exposed},
                       {"step", t.seconds()},
                       {"efficiency", efficiency}});
  return records;
}

}  // namespace gradus::bench
