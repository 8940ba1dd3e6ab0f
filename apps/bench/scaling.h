// A step of data-parallel training on paper: what a member sends, and how long it waits for it.
//
// The messages are counted, by running a member's step as the first of N processes of which the
// others are not there (CountingProcesses): they are what the program itself exchanges. Each costs
// a latency, and its bytes over a bandwidth; they go one after another. Those of the foreground
// (batch norm's statistics and sums, the loss's, the flags) are waited for, with what is before
// them. Gradients are summed beside backward, bucket after bucket.
//
// Not in the model: the host, which must have recorded the step as a graph; kernels and messages
// that slow each other down, foreground and background on one link above all; members that are
// late; congestion between nodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/tensor/communicator.h>

namespace gradus::bench {

/// A connection of two GPUs, in either direction at the same time.
struct Link {
  double latency;    ///< seconds of an empty message, with the kernel that sends and receives
  double bandwidth;  ///< bytes a second that are reached
};

/// Nodes of `node` neighbours by rank, a power of two, and what connects these and the nodes.
struct Network {
  std::string name;
  int node;
  Link within, between;
};

/// "nvlink": nodes of 8 GPUs, with InfiniBand between them; "infiniband": nodes of 1.
const std::vector<Network>& networks();

/// What a member and its partner send each other at one time.
struct Message {
  Channel channel;
  int distance;  ///< of their ranks
  double sent, received;
  std::size_t launches;  ///< of the step, before it

  bool operator==(const Message&) const = default;
};

/// The first of `size` processes, of which no other is there: zeros are received, and what would be
/// sent is recorded.
class CountingProcesses : public Processes {
 public:
  explicit CountingProcesses(int size) : Processes(0, size) {}

  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  void exchange(Channel channel, int partner, std::span<const std::byte> sent,
                std::span<std::byte> received) override;
  void exchange_on_gpu(Channel channel, int partner, std::span<const std::byte> sent,
                       std::span<std::byte> received) override;
  void abort(int) override { std::terminate(); }

  /// Forgets the messages so far. `launches` will tell how many there were since then, at messages
  /// of a GPU and those that the host waits for. Nothing must be under way.
  void start(std::function<std::size_t()> launches);
  /// Those of each channel are in their order.
  const std::vector<Message>& messages() const { return messages_; }

 private:
  void record(Channel channel, int partner, std::size_t sent, std::size_t received,
              std::size_t launches);

  std::function<std::size_t()> launches_;
  std::mutex mutex_;  // guards what follows
  std::vector<Message> messages_;
};

/// One kernel.
struct Launch {
  double seconds;
  bool adds = false;  ///< what the message before it brought, on the stream of exchanges
};

/// A member's step: its kernels in order, and what it exchanges with `members` - 1 others.
struct MemberStep {
  int members = 1;
  std::vector<Launch> launches;
  std::vector<Message> messages;
};

/// Where the seconds of a step go.
struct StepTime {
  double compute = 0;
  double latency = 0, bandwidth = 0;   ///< of messages in the foreground, which are waited for
  double hidden = 0, exposed = 0;      ///< of the gradients' sums; exposed: waited for
  double foreground = 0, buckets = 0;  ///< bytes that are sent
  std::int64_t messages = 0;           ///< in the foreground
  std::int64_t kernels = 0;

  double seconds() const { return compute + latency + bandwidth + exposed; }
};

StepTime time_of(const MemberStep& step, const Network& network);

/// A line of the table: the step with that many GPUs, of `batch` images each.
struct Scaling {
  int gpus;
  std::int64_t batch;
  StepTime time;
  double efficiency;  ///< images a second and GPU, over those of one GPU
};

/// The line after those `before`, of which the first is that of one GPU.
Scaling scaling_of(const MemberStep& step, std::int64_t batch, const Network& network,
                   const std::vector<Scaling>& before);

/// In milliseconds.
void print_table(std::string_view title, const std::vector<Scaling>& lines);
/// In seconds.
nlohmann::ordered_json to_json(const std::vector<Scaling>& lines);

}  // namespace gradus::bench
