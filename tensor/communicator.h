// Collective operations: what the members of a group compute together. tensor/comm/README.md says
// how a training run is made of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>

#include <gradus/tensor/tensor.h>

namespace gradus {

/// Exchanges of different channels may be under way at the same time: those that a member waits
/// for, those beside its work, and those of a GPU's memory, which the GPU waits for.
enum class Channel : std::uint8_t { foreground, background, gpu };

/// The processes of one job, 1, 2, 4, 8, ... of them, and the one thing that they do: exchange
/// bytes in pairs. Each channel is used from one thread at a time.
class Processes {
 public:
  virtual ~Processes() = default;
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  /// The number of this process, in [0, size).
  int rank() const { return rank_; }
  /// How many processes there are.
  int size() const { return size_; }
  /// The number of this process among those on the same machine, in [0, local_size).
  virtual int local_rank() const = 0;
  /// How many of the processes are on this machine.
  virtual int local_size() const = 0;
  /// Sends bytes to the process `partner`, which must do the same with this one in that channel,
  /// and fills `received`, of as many bytes as that one sends; returns when both are done.
  virtual void exchange(Channel channel, int partner, std::span<const std::byte> sent,
                        std::span<std::byte> received) = 0;
  /// The same with memory of the GPU, in the order of the back end's work, whatever the channel:
  /// returns at once, and can be recorded (RepeatedWork). Of processes that all use a GPU, their
  /// own or a shared one.
  virtual void exchange_on_gpu(Channel channel, int partner, std::span<const std::byte> sent,
                               std::span<std::byte> received);
  /// What exchanges of GPUs go through, in words; to be called by all. "the host" where nothing
  /// better is known.
  virtual std::string gpu_link() { return "the host"; }
  /// Lets sums be taken in whatever order the library that connects the processes likes best, where
  /// it has one (MPI, NCCL), instead of the tree: their bits then depend on the placement, too. All
  /// processes must agree.
  void allow_any_order(bool on) { any_order_ = on; }
  bool any_order() const { return any_order_; }
  /// In place, where any order is allowed: the sum of all processes' n numbers x, float32 or
  /// float64. False, and nothing happens, where there is no such way.
  virtual bool sum_in_any_order(Channel channel, DType dtype, void* x, std::int64_t n);
  /// The same with memory of the GPU, as in exchange_on_gpu.
  virtual bool sum_in_any_order_on_gpu(DType dtype, void* x, std::int64_t n);
  /// Ends the whole job, now, with that exit code.
  virtual void abort(int exit_code) = 0;

 protected:
  Processes(int rank, int size) : rank_(rank), size_(size) {}

 private:
  int rank_, size_;
  bool any_order_ = false;
};

/// The processes that a launcher (mpirun, srun) has started as one MPI job, connected; null where
/// this one was started alone. To be called once. Throws Error if their number is not a power of
/// two, or if the program was built without MPI. In the library gradus::mpi.
std::unique_ptr<Processes> launched_processes();

class Team;

/// A member's hold on its group of 1, 2, 4, 8, ... members: threads of one process, or of several
/// with equally many in each. Each function must be called by all members, in the same order, with
/// tensors of one dtype and shape; it returns when this member's result is there.
///
/// Members of one process that disagree on a tensor's size all get an Error.
///
/// Sums are taken in the fixed binary tree ((x0 + x1) + (x2 + x3)) + ..., by members' ranks, so
/// that their bits depend on the number of members alone, never on how processes share them, and
/// are the same for all.
///
/// Where each process has one member, tensors of a GPU stay there and nobody waits: what a member
/// launches next finds the result. Several members of a process take them to the host and back.
///
/// When another member's function has ended with an exception, a call throws one that run_members
/// takes care of.
class Communicator {
 public:
  /// For the member of that number in this process, which `team` and `background` both have;
  /// run_members makes them.
  Communicator(Team& team, Team& background, int member)
      : team_(team), background_(background), member_(member) {}
  /// Waits for the sums that were started, which use the group.
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  /// The number of this member, in [0, size): those of the first process come first.
  int rank() const;
  /// How many members the group has, in all processes.
  int size() const;
  /// Whether this is the first member in its process.
  bool leads_process() const { return member_ == 0; }
  /// The rank of a member's process.
  int process_of(int rank) const;

  /// In place: the sum of all members' x, float32 or float64.
  void all_reduce(Tensor& x);
  /// Starts the same, and returns at once: the sum is taken in the background, after those that
  /// were started before, whatever the members do together meanwhile. x must be left alone until
  /// get() of the result has waited for it, which throws what went wrong.
  std::shared_future<void> start_all_reduce(Tensor& x);
  /// All members' x [...]: [size, ...], of any dtype.
  Tensor all_gather(const Tensor& x);
  /// In place: x as the member `root` has it, of any dtype.
  void broadcast(Tensor& x, int root = 0);
  /// Waits for all members.
  void barrier();
  /// Runs `body` in member 0, and when that is done in the others: what is wrong for all of them
  /// becomes an error of member 0 alone.
  void first_then_others(const std::function<void()>& body);

 private:
  Team& team_;
  Team& background_;  ///< the same members once more, for sums in the background
  int member_;        ///< within the process
  std::shared_future<void> last_started_;
};

/// Runs `body` in `members` members of a group of processes->size() times as many, or of these
/// alone without `processes`: the first on the calling thread, each other one on a thread of its
/// own. Returns when all are done. Throws what the first to fail threw, when the others have
/// stopped, each in its next call of the communicator.
void run_members(int members, Processes* processes, const std::function<void(Communicator&)>& body);

}  // namespace gradus
