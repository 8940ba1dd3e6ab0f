// The scheduler of a block's threads.
//
// A fibre runs thread after thread as long as they do not wait, so that a kernel without barriers
// is a plain loop. A thread that waits keeps its fibre; another one takes the remaining threads.
// When all that a barrier or a warp operation waits for have come, they become ready again.
#include "tensor/cuda/emulator/scheduler.h"

#include <algorithm>
#include <array>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <utility>

#include <gradus/tensor/check.h>
#include "tensor/cuda/emulator/fibre.h"
#include "tensor/cuda/emulator/intrinsics.h"
#include "tensor/cuda/emulator/shared_array.h"

namespace gradus::cuda::emulator {
namespace {

enum class State : std::uint8_t {
  not_started,
  ready,
  at_barrier,
  at_named_barrier,
  at_warp_operation,
  finished
};

/// One of a block's numbered barriers, at which some of its threads meet.
struct NamedBarrier {
  int come = 0;
  std::vector<int> waiting;
};

struct Thread {
  State state = State::not_started;
  BarrierKind barrier{};
  WarpKind operation{};
  unsigned mask = 0;        // of a warp operation
  int source = 0;           // lane that a shuffle reads
  std::uint64_t value = 0;  // what the thread brings, and after the wait what it gets
  Fibre* fibre = nullptr;
  std::source_location place;
};

std::string describe(uint3 index) { return fmt::format("({}, {}, {})", index.x, index.y, index.z); }

bool is_same(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.file_name() == b.file_name();
}

std::string describe(const std::source_location& place) {
  const std::string file = place.file_name();
  return fmt::format("{}:{}", file.substr(file.find_last_of('/') + 1), place.line());
}

class Scheduler {
 public:
  void set_launch(const Launch* launch);
  void run(Order order);
  int wait_for_block(BarrierKind kind, bool predicate, std::source_location place);
  void come_to_named_barrier(int number, int threads, bool waits, std::source_location place);
  std::uint64_t wait_for_warp(WarpKind kind, unsigned mask, std::uint64_t value, int source,
                              std::source_location place);
  std::string running_place() const;

 private:
  void run_block(std::uint64_t block);
  static void run_threads(context::transfer_t from);
  void start_threads(Fibre& fibre);
  Fibre& next_fibre();
  void wait(State state, std::source_location place);
  void release_block();
  void release_warp(int first, unsigned mask);
  void shuffle_order();
  [[noreturn]] void fault_stuck() const;

  const Launch* launch_ = nullptr;
  Order order_ = Order::forward;
  std::minstd_rand random_;
  int count_ = 0;                           // threads of a block
  std::array<uint3, max_threads> indices_;  // threadIdx by linear index
  std::array<int, max_threads> sequence_;   // linear indices in the order to run
  std::array<Thread, max_threads> threads_;
  std::array<unsigned, max_threads / 32> arrived_{};  // lanes at a warp operation, by warp
  std::array<NamedBarrier, named_barriers> named_;

  int current_ = -1;                // linear index of the running thread
  int started_ = 0, finished_ = 0;  // threads
  int at_barrier_ = 0, predicates_ = 0;
  std::vector<int> ready_;  // threads whose wait is over, from next_ready_ on
  std::size_t next_ready_ = 0;
  std::exception_ptr error_;

  Fibre process_stack_;
  std::vector<std::unique_ptr<Fibre>> fibres_;
  std::vector<Fibre*> idle_;
  Fibre* starting_ = nullptr;  // where run_threads() begins
};

/// One for the process: DeviceAccess lets one host thread in.
Scheduler& scheduler() {
  static auto* instance = new Scheduler;
  return *instance;
}

void Scheduler::set_launch(const Launch* launch) {
  launch_ = launch;
  current_ = -1;
  if (!launch) return;
  gridDim = launch->grid;
  blockDim = launch->block;
  count_ = 0;
  for (unsigned z = 0; z < blockDim.z; ++z) {
    for (unsigned y = 0; y < blockDim.y; ++y) {
      for (unsigned x = 0; x < blockDim.x; ++x) indices_[count_++] = {x, y, z};
    }
  }
}

void Scheduler::shuffle_order() {
  if (order_ != Order::random) return;
  std::shuffle(sequence_.begin(), sequence_.begin() + count_, random_);
}

void Scheduler::run(Order order) {
  order_ = order;
  random_.seed(1);
  for (int i = 0; i < count_; ++i) sequence_[i] = order == Order::reverse ? count_ - 1 - i : i;
  const std::uint64_t blocks = std::uint64_t{gridDim.x} * gridDim.y * gridDim.z;
  std::uint64_t stride = 1, block = 0;
  if (order == Order::reverse) stride = block = blocks - 1;
  if (order == Order::random) {
    // A stride that has no factor in common with the number of blocks visits all.
    block = blocks / 2;
    stride = blocks * 5 / 8 | 1;
    while (std::gcd(stride, blocks) != 1) stride += 2;
  }
  for (std::uint64_t i = 0; i < blocks; ++i, block = (block + stride) % blocks) run_block(block);
}

void Scheduler::run_block(std::uint64_t block) {
  blockIdx = {static_cast<unsigned>(block % gridDim.x),
              static_cast<unsigned>(block / gridDim.x % gridDim.y),
              static_cast<unsigned>(block / gridDim.x / gridDim.y)};
  start_shared_memory(launch_->shared_bytes, launch_->shared_limit);
  started_ = finished_ = at_barrier_ = predicates_ = 0;
  arrived_.fill(0);
  named_.fill({});
  for (int i = 0; i < count_; ++i) threads_[i].state = State::not_started;
  shuffle_order();

  process_stack_.switch_to(next_fibre());
  current_ = -1;
  if (counts_accesses) end_requests();
  if (!error_ && finished_ == count_) return;
  // Give up: what waits is never resumed. Kernels own nothing, so nothing is lost but the stacks'
  // contents.
  for (auto& fibre : fibres_) fibre->restart(run_threads);
  idle_.clear();
  for (auto& fibre : fibres_) idle_.push_back(fibre.get());
  ready_.clear();
  next_ready_ = 0;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  fault_stuck();
}

/// Who runs next: a thread whose wait is over, else a fibre that starts threads, else, when the
/// block is finished, stuck or at fault, the process's stack.
Fibre& Scheduler::next_fibre() {
  if (error_) return process_stack_;
  if (next_ready_ < ready_.size()) {
    current_ = ready_[next_ready_++];
    if (next_ready_ == ready_.size()) {
      ready_.clear();
      next_ready_ = 0;
    }
    threadIdx = indices_[current_];
    return *threads_[current_].fibre;
  }
  if (started_ == count_) return process_stack_;
  if (idle_.empty()) {
    fibres_.push_back(std::make_unique<Fibre>(fibres_.size()));
    fibres_.back()->restart(run_threads);
    idle_.push_back(fibres_.back().get());
  }
  starting_ = idle_.back();
  idle_.pop_back();
  return *starting_;
}

void Scheduler::run_threads(context::transfer_t from) {
  Scheduler& self = scheduler();
  Fibre& fibre = *self.starting_;
  fibre.arrive(from);
  for (;;) {
    self.start_threads(fibre);
    self.idle_.push_back(&fibre);
    if (Fibre& next = self.next_fibre(); &next != &fibre) fibre.switch_to(next);
  }
}

void Scheduler::start_threads(Fibre& fibre) {
  try {
    while (started_ < count_ && ready_.empty()) {
      current_ = sequence_[started_++];
      threads_[current_].fibre = &fibre;
      threadIdx = indices_[current_];
      launch_->body();
      threads_[current_].state = State::finished;
      ++finished_;
    }
  } catch (...) {
    error_ = std::current_exception();
  }
}

void Scheduler::wait(State state, std::source_location place) {
  Thread& thread = threads_[current_];
  thread.state = state;
  thread.place = place;
  if (state == State::at_barrier && at_barrier_ == count_) release_block();
  if (state == State::at_warp_operation) {
    const int warp = current_ / 32;
    if ((arrived_[warp] & thread.mask) == thread.mask) release_warp(warp * 32, thread.mask);
  }
  if (Fibre& next = next_fibre(); &next != thread.fibre) thread.fibre->switch_to(next);
}

int Scheduler::wait_for_block(BarrierKind kind, bool predicate, std::source_location place) {
  Thread& thread = threads_[current_];
  thread.barrier = kind;
  ++at_barrier_;
  predicates_ += predicate;
  wait(State::at_barrier, place);
  return static_cast<int>(thread.value);
}

void Scheduler::come_to_named_barrier(int number, int threads, bool waits,
                                      std::source_location place) {
  if (number < 1 || number >= named_barriers || threads % 32 != 0 || threads > count_) {
    fault(fmt::format("there is no named barrier {} of {} threads at {}", number, threads,
                      describe(place)));
  }
  NamedBarrier& barrier = named_[number];
  if (waits) barrier.waiting.push_back(current_);
  if (++barrier.come < threads) {
    if (waits) wait(State::at_named_barrier, place);
    return;
  }
  for (const int thread : barrier.waiting) {
    threads_[thread].state = State::ready;
    if (thread != current_) ready_.push_back(thread);
  }
  barrier = {};
}

void Scheduler::release_block() {
  if (counts_accesses) end_requests();
  const Thread& first = threads_[0];
  for (int i = 0; i < count_; ++i) {
    Thread& thread = threads_[i];
    if (thread.barrier != first.barrier || !is_same(thread.place, first.place)) {
      fault(fmt::format("barrier divergence: thread {} waits at {}, thread {} at {}",
                        describe(indices_[0]), describe(first.place), describe(indices_[i]),
                        describe(thread.place)));
    }
    thread.value = static_cast<std::uint64_t>(predicates_);
    thread.state = State::ready;
  }
  at_barrier_ = predicates_ = 0;
  shuffle_order();
  ready_.assign(sequence_.begin(), sequence_.begin() + count_);
}

std::uint64_t Scheduler::wait_for_warp(WarpKind kind, unsigned mask, std::uint64_t value,
                                       int source, std::source_location place) {
  Thread& thread = threads_[current_];
  const int lane = current_ % 32, lanes = std::min(32, count_ - current_ / 32 * 32);
  const unsigned present = lanes == 32 ? ~0u : (1u << lanes) - 1;
  if (!(mask >> lane & 1)) {
    fault(fmt::format("warp mask {:#010x} at {} is without the lane {} that calls it", mask,
                      describe(place), lane));
  }
  if (mask & ~present) {
    fault(fmt::format("warp mask {:#010x} at {} names lanes that do not exist: the warp has {}",
                      mask, describe(place), lanes));
  }
  if (kind == WarpKind::shuffle && !(mask >> source & 1)) {
    fault(fmt::format("lane {} reads lane {} at {}, which is not in the warp mask {:#010x}", lane,
                      source, describe(place), mask));
  }
  thread.operation = kind;
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  arrived_[current_ / 32] |= 1u << lane;
  wait(State::at_warp_operation, place);
  return thread.value;
}

void Scheduler::release_warp(int first, unsigned mask) {
  std::array<std::uint64_t, 32> values;
  std::uint64_t votes = 0;
  const Thread& last = threads_[current_];  // to come
  for (int lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    const Thread& thread = threads_[first + lane];
    if (thread.mask != mask || thread.operation != last.operation ||
        (is_matrix_operation(last.operation) && !is_same(thread.place, last.place))) {
      fault(fmt::format(
          "warp divergence: lane {} is at {} with the mask {:#010x}, lane {} at {} "
          "with {:#010x}",
          current_ % 32, describe(last.place), mask, lane, describe(thread.place), thread.mask));
    }
    values[lane] = thread.value;
    if (thread.value != 0) votes |= std::uint64_t{1} << lane;
  }
  arrived_[first / 32] &= ~mask;
  if (is_matrix_operation(last.operation)) run_matrix_operation(last.operation, values);
  const int flip = order_ == Order::forward   ? 0
                   : order_ == Order::reverse ? 31
                                              : static_cast<int>(random_() % 32);
  for (int i = 0; i < 32; ++i) {
    const int lane = i ^ flip;
    if (!(mask >> lane & 1)) continue;
    Thread& thread = threads_[first + lane];
    if (thread.operation == WarpKind::shuffle) thread.value = values[thread.source];
    if (thread.operation == WarpKind::vote) thread.value = votes;
    thread.state = State::ready;
    ready_.push_back(first + lane);
  }
}

/// Nothing can run, yet not all threads have finished.
void Scheduler::fault_stuck() const {
  const auto waiting = std::find_if(threads_.begin(), threads_.begin() + count_,
                                    [](const Thread& t) { return t.state != State::finished; });
  const bool at_warp = waiting->state == State::at_warp_operation;
  // Whom it waits for: the first thread of its block or warp that is not there.
  const auto index = static_cast<int>(waiting - threads_.begin());
  const int first = at_warp ? index / 32 * 32 : 0;
  int missing = first;
  while (missing + 1 < count_ && (threads_[missing].state == waiting->state ||
                                  (at_warp && !(waiting->mask >> (missing - first) & 1)))) {
    ++missing;
  }
  const auto alike = std::count_if(threads_.begin(), threads_.begin() + count_,
                                   [&](const Thread& t) { return t.state == waiting->state; });
  const Thread& other = threads_[missing];
  const std::string mask =
      at_warp ? fmt::format(" with the warp mask {:#010x}", waiting->mask) : "";
  const std::string elsewhere =
      other.state == State::finished ? "has left the kernel" : "waits at " + describe(other.place);
  fail("emulator",
       "kernel \"{}\", block {}: {} divergence: {} of {} threads, thread {} among them, wait "
       "at {}{}, but thread {} {}",
       launch_->name, describe(blockIdx), at_warp ? "warp" : "barrier", alike, count_,
       describe(indices_[index]), describe(waiting->place), mask, describe(indices_[missing]),
       elsewhere);
}

std::string Scheduler::running_place() const {
  if (!launch_) return "";
  if (current_ < 0) return fmt::format("kernel \"{}\"", launch_->name);
  return fmt::format("kernel \"{}\", block {}, thread {}", launch_->name, describe(blockIdx),
                     describe(indices_[current_]));
}

}  // namespace

RunningLaunch::RunningLaunch(const Launch& launch) { scheduler().set_launch(&launch); }
RunningLaunch::~RunningLaunch() { scheduler().set_launch(nullptr); }
void run_grid(Order order) { scheduler().run(order); }
std::string running_place() { return scheduler().running_place(); }

int wait_for_block(BarrierKind kind, bool predicate, std::source_location place) {
  return scheduler().wait_for_block(kind, predicate, place);
}
void come_to_named_barrier(int number, int threads, bool waits, std::source_location place) {
  scheduler().come_to_named_barrier(number, threads, waits, place);
}
std::uint64_t wait_for_warp(WarpKind kind, unsigned mask, std::uint64_t value, int source,
                            std::source_location place) {
  return scheduler().wait_for_warp(kind, mask, value, source, place);
}

void fault(const std::string& message) {
  const std::string place = running_place();
  if (place.empty()) fail("emulator", "{}", message);
  fail("emulator", "{}: {}", place, message);
}

}  // namespace gradus::cuda::emulator
