// Notices that a connection between the processes of an MPI job is lost.
#pragma once

#include <fmt/format.h>
#include <mpi.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace gradus {

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
  /// The loss in words.
  std::string loss() const {
    return fmt::format("nothing heard of process {} for {} s; is the connection lost?", lost(),
                       most_seconds);
  }

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
      // Process 0 says it first, so that there is one line; and all this has an end even where it
      // waits within MPI, or for its GPU.
      if (lost != none) ++since;
      if (since > (is_first_ ? 0 : grace)) lost_ = lost;
      if (since > 2 * grace) {
        fmt::print(stderr, "error: {}\n", loss());
        MPI_Abort(MPI_COMM_WORLD, 1);
      }
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
    MPI_Irecv(&pair.received, sizeof(Beat), MPI_BYTE, pair.partner, tag, MPI_COMM_WORLD,
              &pair.both[0]);
    MPI_Isend(&pair.sent, sizeof(Beat), MPI_BYTE, pair.partner, tag, MPI_COMM_WORLD, &pair.both[1]);
  }

  static constexpr int tag = 3;            // after those of the channels
  static constexpr int most_seconds = 15;  // without a beat
  // Ticks are counted, not time: a job that was stopped as a whole goes on.
  static constexpr std::chrono::milliseconds tick{20};
  static constexpr int limit = most_seconds * 1000 / tick.count();
  static constexpr int grace = 10000 / tick.count();

  bool is_first_;
  std::vector<Pair> pairs_;
  std::atomic<bool> leaves_ = false;
  std::atomic<int> lost_ = none;
  std::thread thread_;
};

}  // namespace gradus
