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
  if (waiting_ == 0) bytes_ = bytes;
  disagree_ = disagree_ || bytes != bytes_;
  const std::uint64_t meeting = meetings_;
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
  check(!disagree_, "communicator", "its members' tensors must have one size; got different ones");
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

std::byte* Team::received(std::size_t bytes) {
  if (received_.size() < bytes) received_.resize(bytes);
  return received_.data();
}

/// At distance 1, 2, 4, ... a process and its partner exchange halves of the range that they have
/// the sum of so far, and each adds up one; then the same way back, with sums. So a process sends
/// and receives less than two times n elements, and the tree is the one of the members.
template <class T>
void Team::sum_over_processes(T* x, std::int64_t n) {
  struct Range {
    std::int64_t begin, end;
  };
  const auto bytes = [x](Range r) {
    return std::as_writable_bytes(std::span<T>(x + r.begin, x + r.end));
  };
  std::vector<Range> ranges{{0, n}};
  for (int distance = 1; distance < processes(); distance *= 2) {
    const auto [begin, end] = ranges.back();
    const std::int64_t middle = begin + (end - begin) / 2;
    const bool upper = (processes_->rank() & distance) != 0;
    const Range kept = upper ? Range{middle, end} : Range{begin, middle};
    const Range given = upper ? Range{begin, middle} : Range{middle, end};
    auto* const more = reinterpret_cast<T*>(received(bytes(kept).size()));
    processes_->exchange(channel_, processes_->rank() ^ distance, bytes(given),
                         {reinterpret_cast<std::byte*>(more), bytes(kept).size()});
    for (std::int64_t i = kept.begin; i < kept.end; ++i) x[i] += more[i - kept.begin];
    ranges.push_back(kept);
  }
  for (int distance = processes() / 2; distance >= 1; distance /= 2) {
    const Range kept = ranges.back();
    ranges.pop_back();
    const Range whole = ranges.back();
    const Range missing =
        kept.begin == whole.begin ? Range{kept.end, whole.end} : Range{whole.begin, kept.begin};
    processes_->exchange(channel_, processes_->rank() ^ distance, bytes(kept), bytes(missing));
  }
}
template void Team::sum_over_processes<float>(float*, std::int64_t);
template void Team::sum_over_processes<double>(double*, std::int64_t);

void Team::gather_over_processes(std::size_t block) {
  for (int distance = 1; distance < processes(); distance *= 2) {
    const int partner = processes_->rank() ^ distance;
    // The blocks of `distance` processes from a multiple of it on.
    const auto group_of = [&](int process) {
      const auto first = static_cast<std::size_t>(process & ~(distance - 1));
      return std::span(buffer() + first * block, static_cast<std::size_t>(distance) * block);
    };
    processes_->exchange(channel_, partner, group_of(processes_->rank()), group_of(partner));
  }
}

void Team::broadcast_over_processes(int root, std::size_t bytes) {
  for (int distance = 1; distance < processes(); distance *= 2) {
    const int from_root = processes_->rank() ^ root;
    if (from_root >= 2 * distance) continue;
    const std::span all(buffer(), bytes);
    const bool has_it = from_root < distance;
    processes_->exchange(channel_, processes_->rank() ^ distance, all.first(has_it ? bytes : 0),
                         all.first(has_it ? 0 : bytes));
  }
}

}  // namespace gradus
