// Processes of an MPI job.
#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include <gradus/tensor/check.h>
#include "tensor/comm/launcher.h"

namespace gradus {
namespace {

constexpr int heartbeat_tag = 2;             // after those of the channels
constexpr int lost_connection_seconds = 15;  // without a beat

/// Watches the connections of this process to its partners, those at distance 1, 2, 4, .... MPI
/// waits for ever where one is lost and both ends live; and how long a partner may compute or write
/// before it exchanges nobody knows. So a thread of each process sends its partners a beat, again
/// and again, and notices when there is no answer.
class Heartbeat {
 public:
  Heartbeat(int rank, int size) : is_first_(rank == 0) {
    for (int distance = 1; distance < size; distance *= 2)
      pairs_.emplace_back().partner = rank ^ distance;
    thread_ = std::thread([this] { run(); });
  }
  /// Returns when all partners leave, too, or one is lost.
  void leave() {
    leaves_ = true;
    thread_.join();
  }

  /// The process whose connection is lost, or none.
  int lost() const { return lost_; }
  static constexpr int none = -1;

 private:
  struct Beat {
    int leaves = 0;
    int lost = none;  ///< what one process notices the others are told
  };
  struct Pair {
    int partner = 0;
    Beat sent, received;
    MPI_Request both[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
    int silence = 0;  ///< in ticks
    bool open = true;
  };

  void run() {
    int lost = none, since = 0;
    do {
      bool open = false;
      for (Pair& pair : pairs_) {
        if (pair.open) beat(pair, lost);
        open = open || pair.open;
      }
      if (!open) return;
      // Process 0 says it first, so that there is one line.
      if (lost != none && (is_first_ || ++since > grace)) lost_ = lost;
      std::this_thread::sleep_for(tick);
    } while (!leaves_ || lost_ == none);
  }

  /// The pair's next beat, if the one before has come; or else one more tick of silence.
  void beat(Pair& pair, int& lost) {
    int done = 0;
    MPI_Testall(2, pair.both, &done, MPI_STATUSES_IGNORE);
    if (done == 0) {
      if (++pair.silence == limit && lost == none) lost = pair.partner;
      return;
    }
    pair.silence = 0;
    if (lost == none) lost = pair.received.lost;
    pair.open = pair.sent.leaves == 0 || pair.received.leaves == 0;
    if (!pair.open) return;
    pair.sent = {leaves_ ? 1 : 0, lost};
    MPI_Irecv(&pair.received, sizeof(Beat), MPI_BYTE, pair.partner, heartbeat_tag, MPI_COMM_WORLD,
              &pair.both[0]);
    MPI_Isend(&pair.sent, sizeof(Beat), MPI_BYTE, pair.partner, heartbeat_tag, MPI_COMM_WORLD,
              &pair.both[1]);
  }

  // Ticks are counted, not time: a job that was stopped as a whole goes on.
  static constexpr std::chrono::milliseconds tick{20};
  static constexpr int limit = lost_connection_seconds * 1000 / tick.count();
  static constexpr int grace = 10000 / tick.count();

  bool is_first_;
  std::vector<Pair> pairs_;
  std::atomic<bool> leaves_ = false;
  std::atomic<int> lost_ = none;
  std::thread thread_;
};

class MpiProcesses : public Processes {
 public:
  MpiProcesses(int rank, int size) : Processes(rank, size), heartbeat_(rank, size) {
    MPI_Comm node;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &local_rank_);
    MPI_Comm_size(node, &local_size_);
    MPI_Comm_free(&node);
  }
  ~MpiProcesses() override {
    heartbeat_.leave();
    if (heartbeat_.lost() != Heartbeat::none) abort(1);
    MPI_Finalize();
  }

  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }

  void exchange(Channel channel, int partner, std::span<const std::byte> sent,
                std::span<std::byte> received) override {
    const int tag = static_cast<int>(channel);
    do {
      const auto out = sent.first(std::min(sent.size(), most_bytes));
      const auto in = received.first(std::min(received.size(), most_bytes));
      MPI_Request both[2];
      MPI_Irecv(in.data(), static_cast<int>(in.size()), MPI_BYTE, partner, tag, MPI_COMM_WORLD,
                &both[0]);
      MPI_Isend(out.data(), static_cast<int>(out.size()), MPI_BYTE, partner, tag, MPI_COMM_WORLD,
                &both[1]);
      for (int done = 0;;) {
        MPI_Testall(2, both, &done, MPI_STATUSES_IGNORE);
        if (done != 0) break;
        const int lost = heartbeat_.lost();
        check(lost == Heartbeat::none, "processes",
              "nothing heard of process {} for {} s; is the connection lost?", lost,
              lost_connection_seconds);
        // To look again at once would, in the background, take a processor from those who compute.
        if (channel == Channel::background)
          std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
      sent = sent.subspan(out.size());
      received = received.subspan(in.size());
    } while (!sent.empty() || !received.empty());
  }

  void abort(int exit_code) override {
    // A launcher may end before it has read what was printed just now (MPICH's does).
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  static constexpr std::size_t most_bytes = std::size_t{1} << 30;  // of a message
  int local_rank_ = 0, local_size_ = 1;
  Heartbeat heartbeat_;
};

}  // namespace

std::unique_ptr<Processes> launched_processes() {
  if (launched_rank() < 0) return nullptr;
  int given = 0, rank = 0, size = 1;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &given);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const bool for_threads = given == MPI_THREAD_MULTIPLE;
  if (for_threads && std::has_single_bit(static_cast<unsigned>(size)))
    return std::make_unique<MpiProcesses>(rank, size);
  MPI_Finalize();  // all of them leave together
  // Rank 0 says why. A failure of another one could make mpirun end it before that.
  if (rank != 0) std::exit(0);
  check(for_threads, "processes",
        "this MPI library cannot be used from several threads at a time (MPI_THREAD_MULTIPLE); "
        "Open MPI and MPICH can");
  fail("processes", "a job has 1, 2, 4, 8, ... processes; got {}", size);
}

}  // namespace gradus
