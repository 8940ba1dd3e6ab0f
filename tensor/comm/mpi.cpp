// Processes of an MPI job.
#include <mpi.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <thread>

#include <gradus/tensor/check.h>
#include "tensor/comm/launcher.h"

namespace gradus {
namespace {

class MpiProcesses : public Processes {
 public:
  MpiProcesses(int rank, int size) : Processes(rank, size) {
    MPI_Comm node;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &local_rank_);
    MPI_Comm_size(node, &local_size_);
    MPI_Comm_free(&node);
  }
  ~MpiProcesses() override { MPI_Finalize(); }

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
      // MPI waits by looking again and again. In the background that would take a processor from
      // those who compute.
      int done = channel == Channel::foreground;
      if (done != 0) MPI_Waitall(2, both, MPI_STATUSES_IGNORE);
      while (done == 0) {
        MPI_Testall(2, both, &done, MPI_STATUSES_IGNORE);
        if (done == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
      sent = sent.subspan(out.size());
      received = received.subspan(in.size());
    } while (!sent.empty() || !received.empty());
  }

  void abort(int exit_code) override {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  static constexpr std::size_t most_bytes = std::size_t{1} << 30;  // of a message
  int local_rank_ = 0, local_size_ = 1;
};

}  // namespace

std::unique_ptr<Processes> launched_processes() {
  if (!was_launched()) return nullptr;
  int given = 0, rank = 0, size = 1;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &given);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  auto processes = std::make_unique<MpiProcesses>(rank, size);
  const bool for_threads = given == MPI_THREAD_MULTIPLE;
  if (for_threads && std::has_single_bit(static_cast<unsigned>(size))) return processes;
  processes.reset();  // all of them leave together
  // Rank 0 says why. A failure of another one could make mpirun end it before that.
  if (rank != 0) std::exit(0);
  check(for_threads, "processes",
        "this MPI library cannot be used from several threads at a time (MPI_THREAD_MULTIPLE); "
        "Open MPI and MPICH can");
  fail("processes", "a job has 1, 2, 4, 8, ... processes; got {}", size);
}

}  // namespace gradus
