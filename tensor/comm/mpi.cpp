// Processes of an MPI job.
#include <mpi.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <thread>

#include <gradus/tensor/check.h>
#include "tensor/backend/runtime.h"
#include "tensor/comm/heartbeat.h"
#include "tensor/comm/launcher.h"
#include "tensor/comm/nccl.h"

namespace gradus {
namespace {

class MpiProcesses : public Processes {
 public:
  MpiProcesses(int rank, int size) : Processes(rank, size), heartbeat_(rank, size) {
    MPI_Comm node;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &local_rank_);
    MPI_Comm_size(node, &local_size_);
    MPI_Comm_free(&node);
    for (MPI_Comm& sums : sums_) MPI_Comm_dup(MPI_COMM_WORLD, &sums);
  }
  ~MpiProcesses() override {
    if (link_) finish_exchanges();
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
      wait(channel, both);
      sent = sent.subspan(out.size());
      received = received.subspan(in.size());
    } while (!sent.empty() || !received.empty());
  }

  std::string gpu_link() override { return link().text; }

  void exchange_on_gpu(Channel channel, int partner, std::span<const std::byte> sent,
                       std::span<std::byte> received) override {
    if (link().nccl)
      link().nccl->exchange(partner, sent, received);
    else
      Processes::exchange_on_gpu(channel, partner, sent, received);
  }

  bool sum_in_any_order_on_gpu(DType dtype, void* x, std::int64_t n) override {
    if (link().nccl) link().nccl->sum(dtype, x, n);
    return link().nccl != nullptr;
  }

  bool sum_in_any_order(Channel channel, DType dtype, void* x, std::int64_t n) override {
    const std::int64_t most = std::int64_t{1} << 30;  // numbers of a sum
    const MPI_Datatype type = dtype == DType::float64 ? MPI_DOUBLE : MPI_FLOAT;
    auto* at = static_cast<std::byte*>(x);
    for (std::int64_t begin = 0; begin < n; begin += most) {
      const std::int64_t count = std::min(most, n - begin);
      const MPI_Comm group = sums_[static_cast<std::size_t>(channel)];
      if (channel == Channel::foreground) {
        MPI_Allreduce(MPI_IN_PLACE, at, static_cast<int>(count), type, MPI_SUM, group);
      } else {
        MPI_Request sum[1];
        MPI_Iallreduce(MPI_IN_PLACE, at, static_cast<int>(count), type, MPI_SUM, group, &sum[0]);
        wait(channel, sum);
      }
      at += static_cast<std::size_t>(count) * item_size(dtype);
    }
    return true;
  }

  void abort(int exit_code) override {
    // A launcher may end before it has read what was printed just now (MPICH's does).
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  /// Exchanges of GPUs may be under way still, and their host steps call MPI.
  static void finish_exchanges() {
    try {
      cuda::join_exchanges();
      cuda::synchronize();
    } catch (const Error&) {  // a kernel's fault, which was or will be told elsewhere
    }
  }

  void wait(Channel channel, std::span<MPI_Request> requests) const {
    for (int done = 0;;) {
      MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
      if (done != 0) return;
      check(heartbeat_.lost() == Heartbeat::none, "processes", "{}", heartbeat_.loss());
      // To look again at once would, in the background, take a processor from those who compute.
      if (channel == Channel::background)
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  const GpuLink& link() {
    if (!link_) link_ = connect_gpus(*this);
    return *link_;
  }

  static constexpr std::size_t most_bytes = std::size_t{1} << 30;  // of a message
  int local_rank_ = 0, local_size_ = 1;
  std::array<MPI_Comm, 2> sums_{};  // of the host's channels: MPI orders sums by communicator
  std::optional<GpuLink> link_;
  Heartbeat heartbeat_;
};

}  // namespace

std::unique_ptr<Processes> launched_processes() {
  if (launched_rank() < 0) return nullptr;
  // MPI only ever sees the host's memory, and also where CUDA must not be called (exchange.cpp).
  for (const auto& [option, value] : {std::pair{"OMPI_MCA_opal_cuda_support", "0"},
                                      {"UCX_TLS", "^cuda"},
                                      {"MPIR_CVAR_ENABLE_GPU", "0"}})
    setenv(option, value, /*overwrite=*/0);
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
