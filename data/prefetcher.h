// A bounded queue that worker threads fill ahead of its consumer, in order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <gradus/tensor/check.h>

namespace gradus::data {

/// Makes items begin .. end-1 on `workers` threads and hands them out in that order. At most
/// `workers` + 2 items are in the making or waiting: all workers can work while two items wait.
/// With no workers, `next` makes each item itself.
///
/// `make(i)` is called from several threads at once. What it throws is thrown by the call of `next`
/// that would have returned item i, and, with workers, by every later call. Destruction waits only
/// for the items in the making.
template <class Item>
class Prefetcher {
 public:
  using Make = std::function<Item(std::int64_t)>;

  Prefetcher(Make make, std::int64_t begin, std::int64_t end, int workers)
      : make_(std::move(make)),
        end_(end),
        next_to_make_(begin),
        next_to_deliver_(begin),
        slots_(static_cast<std::size_t>(workers) + 2) {
    try {
      for (int i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      stop();
      fail("loader", "the system refused worker thread {} of {}: {}; use fewer",
           threads_.size() + 1, workers, error.code().message());
    } catch (...) {
      stop();
      throw;
    }
  }
  ~Prefetcher() { stop(); }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// The next item, or nothing after the last; called from one thread.
  std::optional<Item> next() {
    if (next_to_deliver_ == end_) return std::nullopt;
    if (threads_.empty()) {
      Item item = make_(next_to_deliver_);
      ++next_to_deliver_;
      return item;
    }
    std::unique_lock lock(mutex_);
    Slot& slot = slot_of(next_to_deliver_);
    filled_.wait(lock, [&] { return slot.item.has_value() || slot.error; });
    if (slot.error) std::rethrow_exception(slot.error);
    std::optional<Item> item = std::exchange(slot.item, std::nullopt);
    ++next_to_deliver_;
    lock.unlock();
    freed_.notify_one();
    return item;
  }

 private:
  struct Slot {
    std::optional<Item> item;
    std::exception_ptr error;
  };

  Slot& slot_of(std::int64_t i) { return slots_[static_cast<std::size_t>(i) % slots_.size()]; }

  void work() {
    std::unique_lock lock(mutex_);
    const auto slots = static_cast<std::int64_t>(slots_.size());
    while (true) {
      freed_.wait(lock, [&] {
        return stopping_ || next_to_make_ == end_ || next_to_make_ < next_to_deliver_ + slots;
      });
      if (stopping_ || next_to_make_ == end_) return;
      const std::int64_t i = next_to_make_++;
      lock.unlock();
      Slot made;
      try {
        made.item.emplace(make_(i));
      } catch (...) {
        made.error = std::current_exception();
      }
      lock.lock();
      slot_of(i) = std::move(made);
      filled_.notify_one();
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    freed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  const Make make_;
  const std::int64_t end_;
  std::mutex mutex_;  // guards all below but the threads
  std::condition_variable filled_;
  std::condition_variable freed_;
  std::int64_t next_to_make_;
  std::int64_t next_to_deliver_;
  std::vector<Slot> slots_;  // item i lies in slot i mod their number
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace gradus::data
