#include "tensor/comm/team.h"

#include <algorithm>
#include <bit>

#include <gradus/tensor/check.h>

namespace gradus {

Team::Team(int members, Processes* processes, Channel channel)
    : processes_(processes),
      channel_(channel),
      shown_(static_cast<std::size_t>(std::max(members, 0))) {
  check(members >= 1 && std::has_single_bit(static_cast<unsigned>(members)), "communicator",
        "a process has 1, 2, 4, 8, ... members; got {}", members);
}

void Team::meet(std::size_t bytes) {
  std::unique_lock lock(mutex_);
  if (error_) throw MemberStopped();
  const std::uint64_t meeting = meetings_;
  // Members that are slow to leave the meeting before may still look at its answer.
  bool& disagree = disagree_[meeting % 2];
  if (waiting_ == 0) {
    bytes_ = bytes;
    disagree = false;
  }
  disagree = disagree || bytes != bytes_;
  if (++waiting_ < members()) {
    all_there_.wait(lock, [&] { return meetings_ != meeting || error_; });
    if (meetings_ == meeting) throw MemberStopped();
  } else {
    if (bytes > capacity_) {
      buffer_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
      capacity_ = bytes;
    }
    waiting_ = 0;
    ++meetings_;
    all_there_.notify_all();
  }
  check(!disagree, "communicator", "its members' tensors must have one size; got different ones");
}

void Team::meet_again() {
  std::unique_lock lock(mutex_);
  const std::uint64_t meeting = meetings_;
  if (++waiting_ < members()) {
    all_there_.wait(lock, [&] { return meetings_ != meeting; });
  } else {
    waiting_ = 0;
    ++meetings_;
    all_there_.notify_all();
  }
}

void Team::fail(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(error);
  all_there_.notify_all();
}

void Team::rethrow() const {
  if (error_) std::rethrow_exception(error_);
}

template <class T>
Exchange Team::exchange_of(void* memory) {
  return [this, memory = static_cast<std::byte*>(memory)](int partner, ByteRange sent,
                                                          ByteRange received, bool adds) {
    if (adds && received_.size() < received.size()) received_.resize(received.size());
    std::byte* const to = adds ? received_.data() : memory + received.begin;
    processes_->exchange(channel_, partner, {memory + sent.begin, sent.size()},
                         {to, received.size()});
    if (!adds) return;
    T* const x = reinterpret_cast<T*>(memory + received.begin);
    const T* const more = reinterpret_cast<const T*>(to);
    for (std::size_t i = 0; i < received.size() / sizeof(T); ++i)
      x[i] = static_cast<T>(x[i] + more[i]);
  };
}

template <class T>
void Team::sum_over_processes(T* x, std::int64_t n) {
  if (processes() == 1) return;
  const bool done =
      processes_->any_order() && processes_->sum_in_any_order(channel_, dtype_of<T>, x, n);
  if (!done) sum_in_pairs(processes_->rank(), processes(), n, sizeof(T), exchange_of<T>(x));
}
template void Team::sum_over_processes<float>(float*, std::int64_t);
template void Team::sum_over_processes<double>(double*, std::int64_t);

void Team::gather_over_processes(std::size_t block) {
  if (processes() > 1)
    gather_in_pairs(processes_->rank(), processes(), block, exchange_of<std::uint8_t>(buffer()));
}

void Team::broadcast_over_processes(int root, std::size_t bytes) {
  if (processes() > 1)
    broadcast_in_pairs(processes_->rank(), processes(), root, bytes,
                       exchange_of<std::uint8_t>(buffer()));
}

}  // namespace gradus
