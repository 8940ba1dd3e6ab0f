// A process of two, whose partner is not there.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <span>

#include <gradus/tensor/communicator.h>

namespace gradus::test {

/// The first of two processes, to which the other one sends zeros; counts what is exchanged.
class SilentPartner : public Processes {
 public:
  SilentPartner() : Processes(0, 2) {}
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  void exchange(Channel, int, std::span<const std::byte>, std::span<std::byte> received) override {
    std::fill(received.begin(), received.end(), std::byte{0});
    ++count;
  }
  void abort(int) override { std::terminate(); }

  std::atomic<int> count = 0;
};

}  // namespace gradus::test
