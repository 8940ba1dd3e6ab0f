// The loader's queue. Free of OpenMP, so that ThreadSanitizer sees every synchronisation.
#include <gradus/data/prefetcher.h>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>

#include "tests/support/errors.h"

namespace {

using gradus::data::Prefetcher;
using gradus::test::error_of;

TEST_CASE("the queue keeps the order however long each item takes") {
  const auto slow_first = [](std::int64_t i) {
    std::this_thread::sleep_for(std::chrono::microseconds((i * 7919) % 5 * 200));
    return i;
  };
  Prefetcher<std::int64_t> queue(slow_first, 5, 60, 4);
  for (std::int64_t i = 5; i < 60; ++i) REQUIRE(queue.next() == i);
  CHECK_FALSE(queue.next().has_value());
  Prefetcher<std::int64_t> nothing(slow_first, 3, 3, 2);
  CHECK_FALSE(nothing.next().has_value());
}

TEST_CASE("all workers work at once") {
  constexpr std::int64_t workers = 8;
  std::atomic<std::int64_t> at_work = 0;
  std::atomic<bool> met = false;
  const auto make = [&](std::int64_t i) {
    if (++at_work == workers) met = true;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!met && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    --at_work;
    return i;
  };
  Prefetcher<std::int64_t> queue(make, 0, workers, workers);
  for (std::int64_t i = 0; i < workers; ++i) queue.next();
  CHECK(met);
}

TEST_CASE("the queue never runs further ahead than its workers and two more") {
  std::atomic<std::int64_t> started = 0;
  const auto make = [&](std::int64_t i) {
    ++started;
    return i;
  };
  Prefetcher<std::int64_t> queue(make, 0, 100, 3);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK(started <= i + 5);
    queue.next();
  }
}

TEST_CASE("what a worker throws reaches the consumer, in its turn and again") {
  for (const int workers : {0, 1, 3}) {
    CAPTURE(workers);
    const auto make = [](std::int64_t i) {
      if (i == 4) throw std::runtime_error("item 4 failed");
      return i;
    };
    Prefetcher<std::int64_t> queue(make, 0, 20, workers);
    for (std::int64_t i = 0; i < 4; ++i) REQUIRE(queue.next() == i);
    for (int again = 0; again < 2; ++again) {
      CHECK(error_of([&] { queue.next(); }) == "item 4 failed");
    }
  }
}

}  // namespace
