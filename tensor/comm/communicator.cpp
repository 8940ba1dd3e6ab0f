#include <gradus/tensor/communicator.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <system_error>
#include <thread>

#include <gradus/tensor/check.h>
#include "tensor/backend/dispatch.h"
#include "tensor/backend/runtime.h"
#include "tensor/comm/gpu.h"
#include "tensor/comm/team.h"

namespace gradus {
namespace {

/// Elements that are added up at a time.
constexpr std::int64_t most_summed = 2048;

/// sum[0 .. n) = the parts' elements from `begin` on, in the binary tree; n <= most_summed.
template <class T>
void sum_in_tree(std::span<const void* const> parts, std::int64_t begin, std::int64_t n, T* sum) {
  if (parts.size() == 1) {
    std::copy_n(static_cast<const T*>(parts[0]) + begin, n, sum);
    return;
  }
  std::array<T, most_summed> right;
  const std::size_t half = parts.size() / 2;
  sum_in_tree(parts.first(half), begin, n, sum);
  sum_in_tree(parts.subspan(half), begin, n, right.data());
  for (std::int64_t i = 0; i < n; ++i) sum[i] += right[i];
}

/// The tensor on the CPU: what collectives work on.
class OnHost {
 public:
  explicit OnHost(Tensor& x) : x_(x), host_(x.to(Device::cpu)) {}
  Tensor& get() { return host_; }
  /// Brings what was changed back.
  void put_back() {
    if (x_.device() != Device::cpu) x_.copy_from(host_);
  }

 private:
  Tensor& x_;
  Tensor host_;
};

/// Whether collective operations on x are the GPU's.
bool on_gpu(const Team& team, const Tensor& x) {
  return x.device() == Device::cuda && team.members() == 1 && team.processes() > 1;
}

/// In place: the sum of what the team's members have, by way of the host.
void all_reduce_in(Team& team, int member, Tensor& x) {
  check(x.dtype() == DType::float32 || x.dtype() == DType::float64, "all_reduce",
        "elements must be float32 or float64; got {}", name(x.dtype()));
  const int members = team.members();
  if (members * team.processes() == 1) return;
  OnHost host(x);
  const std::int64_t n = x.numel();
  dispatch_full_precision("all_reduce", x.dtype(), [&]<class T>() {
    T* const own = host.get().data<T>();
    if (members == 1) return team.sum_over_processes(own, n);
    team.show(member, own);
    team.meet(x.bytes());
    T* const sum = reinterpret_cast<T*>(team.buffer());
    // Each member adds up a part of the elements.
    const auto [begin, end] = part_of(n, members, member);
    for (std::int64_t i = begin; i < end; i += most_summed)
      sum_in_tree<T>(team.shown(), i, std::min(most_summed, end - i), sum + i);
    team.meet_again();
    if (member == 0) team.sum_over_processes(sum, n);
    team.meet();
    std::copy_n(sum, n, own);
  });
  host.put_back();
}

}  // namespace

void Processes::exchange_on_gpu(Channel, int partner, std::span<const std::byte> sent,
                                std::span<std::byte> received) {
  cuda::exchange_through_host(*this, partner, sent, received);
}

bool Processes::sum_in_any_order(Channel, DType, void*, std::int64_t) { return false; }
bool Processes::sum_in_any_order_on_gpu(DType, void*, std::int64_t) { return false; }

int Communicator::rank() const { return team_.first_rank() + member_; }
int Communicator::process_of(int rank) const { return rank / team_.members(); }
int Communicator::size() const { return team_.processes() * team_.members(); }

void Communicator::all_reduce(Tensor& x) {
  check(x.defined(), "all_reduce", "the tensor is undefined");
  if (on_gpu(team_, x))
    gpu::start_sum(*team_.job(), x, Channel::foreground);
  else
    all_reduce_in(team_, member_, x);
}

std::shared_future<void> Communicator::start_all_reduce(Tensor& x) {
  check(x.defined(), "all_reduce", "the tensor is undefined");
  if (on_gpu(team_, x)) {
    auto started = gpu::start_sum(*team_.job(), x, Channel::background);
    return std::async(std::launch::deferred,
                      [started = std::move(started)]() mutable { started.reset(); });
  }
  const auto sum = [&team = background_, &foreground = team_, member = member_,
                    before = last_started_, x]() mutable {
    if (before.valid()) before.wait();
    before = {};
    // Let go of before the future is ready, which keeps the lambda and what that holds.
    Tensor own = std::move(x);
    try {
      all_reduce_in(team, member, own);
    } catch (const MemberStopped&) {
      throw;
    } catch (...) {  // or the others would take this member's next sum for this one
      for (Team* each : {&team, &foreground}) each->fail(std::current_exception());
      throw;
    }
  };
  // The last to hold a future of std::async waits for it. That is the thread of the sum after it,
  // or this communicator's end: never a member that leaves a function by an exception, which ends
  // the others' waiting only when run_members has caught it.
  last_started_ = std::async(std::launch::async, sum).share();
  return last_started_;
}

Communicator::~Communicator() {
  if (last_started_.valid()) last_started_.wait();
}

Tensor Communicator::all_gather(const Tensor& x) {
  check(x.defined(), "all_gather", "the tensor is undefined");
  if (on_gpu(team_, x)) return gpu::gather(*team_.job(), x);
  const Tensor own = x.to(Device::cpu);
  std::vector<std::int64_t> sizes{size()};
  for (int axis = 0; axis < x.rank(); ++axis) sizes.push_back(x.size(axis));
  Tensor all = empty(Shape(sizes), {x.dtype(), Device::cpu});
  const std::size_t bytes = x.bytes();
  team_.meet(all.bytes());
  if (bytes > 0)
    std::memcpy(team_.buffer() + static_cast<std::size_t>(rank()) * bytes, own.raw(), bytes);
  team_.meet();
  if (member_ == 0) team_.gather_over_processes(static_cast<std::size_t>(team_.members()) * bytes);
  team_.meet();
  if (bytes > 0) std::memcpy(all.raw(), team_.buffer(), all.bytes());
  return all.to(x.device());
}

void Communicator::broadcast(Tensor& x, int root) {
  check(x.defined(), "broadcast", "the tensor is undefined");
  check(root >= 0 && root < size(), "broadcast", "root must lie in [0, {}); got {}", size(), root);
  if (on_gpu(team_, x)) return gpu::broadcast(*team_.job(), x, root);
  OnHost host(x);
  const Tensor& own = host.get();
  team_.meet(x.bytes());
  if (rank() == root && x.bytes() > 0) std::memcpy(team_.buffer(), own.raw(), x.bytes());
  team_.meet();
  if (member_ == 0) team_.broadcast_over_processes(root / team_.members(), x.bytes());
  team_.meet();
  if (rank() == root || x.bytes() == 0) return;
  std::memcpy(host.get().raw(), team_.buffer(), x.bytes());
  host.put_back();
}

void Communicator::barrier() {
  team_.meet();
  if (member_ == 0) team_.gather_over_processes(0);
  team_.meet();
}

void Communicator::first_then_others(const std::function<void()>& body) {
  if (rank() != 0) barrier();
  body();
  if (rank() == 0) barrier();
}

void run_members(int members, Processes* processes,
                 const std::function<void(Communicator&)>& body) {
  Team team(members, processes, Channel::foreground);
  Team background(members, processes, Channel::background);
  const auto stop = [&](const std::exception_ptr& error) {
    team.fail(error);
    background.fail(error);
  };
  const auto run = [&](int member) {
    Communicator communicator(team, background, member);  // whose end waits for the background
    try {
      body(communicator);
    } catch (const MemberStopped&) {  // another one's exception is kept
    } catch (...) {
      stop(std::current_exception());
    }
  };
  std::vector<std::thread> threads;
  try {
    for (int member = 1; member < members; ++member) threads.emplace_back(run, member);
    run(0);
  } catch (const std::system_error& error) {
    stop(std::make_exception_ptr(
        Error(fmt::format("[communicator] the system refused thread {} of {}: {}",
                          threads.size() + 1, members - 1, error.code().message()))));
  }
  for (std::thread& thread : threads) thread.join();
  team.rethrow();
}

}  // namespace gradus
