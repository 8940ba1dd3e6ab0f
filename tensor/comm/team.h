// The members of a group that live in one process, and what they share.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include <gradus/tensor/communicator.h>
#include "tensor/comm/pairs.h"

namespace gradus {

/// Thrown in members that cannot go on because another one failed. Not a std::exception, so that
/// nobody takes it for an error of their own.
struct MemberStopped {};

/// Members meet here, show each other their elements, and share a buffer for results.
class Team {
 public:
  /// Exchanges between processes are of that channel.
  Team(int members, Processes* processes, Channel channel);

  int members() const { return static_cast<int>(shown_.size()); }
  int processes() const { return processes_ == nullptr ? 1 : processes_->size(); }
  /// Those of the job, or null.
  Processes* job() const { return processes_; }
  /// The rank of the first member.
  int first_rank() const { return processes_ == nullptr ? 0 : processes_->rank() * members(); }

  /// Waits for all members. The last to come makes the buffer hold `bytes`. Throws MemberStopped if
  /// one has failed, and Error in all of them if they disagree on `bytes`.
  void meet(std::size_t bytes = 0);
  /// Waits for all members once more, even if one has failed elsewhere: they have all come to the
  /// meeting before, and what one has shown there must be left alone until the others have read it.
  /// Nothing in between may fail.
  void meet_again();
  /// Keeps the first exception and stops the members that wait, now and later.
  void fail(std::exception_ptr error);
  /// Rethrows it, if there was one.
  void rethrow() const;

  std::byte* buffer() { return buffer_.get(); }
  /// A member's elements, to be read by all between a meeting and the next one (meet_again).
  void show(int member, const void* elements) {
    shown_[static_cast<std::size_t>(member)] = elements;
  }
  const std::vector<const void*>& shown() const { return shown_; }

  // Between processes, for the first member alone, with what lies in the buffer; each does nothing
  // where there is one process.
  /// The sum of all processes' n elements.
  template <class T>
  void sum_over_processes(T* x, std::int64_t n);
  /// Of the blocks of all processes, `block` bytes each, every one gets the others'.
  void gather_over_processes(std::size_t block);
  /// All processes get what `root` has.
  void broadcast_over_processes(int root, std::size_t bytes);

 private:
  /// Exchanges parts of memory of the host, T being the type of its numbers.
  template <class T>
  Exchange exchange_of(void* memory);

  Processes* processes_;
  Channel channel_;
  std::mutex mutex_;  // guards what follows, up to error_
  std::condition_variable all_there_;
  int waiting_ = 0;
  std::uint64_t meetings_ = 0;
  std::size_t bytes_ = 0;  ///< that the first to come asked for
  bool disagree_[2] = {};  ///< whether others asked for more or less; of even and odd meetings
  std::exception_ptr error_;
  std::vector<const void*> shown_;  // by member; these two are written before a meeting, read after
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t capacity_ = 0;
  std::vector<std::byte> received_;  // of the first member
};

}  // namespace gradus
