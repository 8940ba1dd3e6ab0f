// Processes that are threads of the test.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include <gradus/tensor/communicator.h>

namespace gradus::test {

/// What is on its way between processes.
struct Mail {
  using Letter = std::atomic<const std::span<const std::byte>*>;
  using Letters = std::vector<std::vector<Letter>>;  ///< [from][to]

  explicit Mail(int processes) {
    for (Letters& of_channel : letters)
      for (int from = 0; from < processes; ++from)
        of_channel.emplace_back(static_cast<std::size_t>(processes));
  }

  std::array<Letters, 3> letters;             ///< by channel
  std::array<std::atomic<int>, 3> sent = {};  ///< how many were posted so far
};

class ThreadProcesses : public Processes {
 public:
  ThreadProcesses(int rank, int size, Mail& mail) : Processes(rank, size), mail_(mail) {}

  int local_rank() const override { return rank(); }
  int local_size() const override { return size(); }
  void exchange(Channel channel, int partner, std::span<const std::byte> sent,
                std::span<std::byte> received) override {
    const auto own = static_cast<std::size_t>(rank()), other = static_cast<std::size_t>(partner);
    Mail::Letters& letters = mail_.letters[static_cast<std::size_t>(channel)];
    Mail::Letter &out = letters[own][other], &in = letters[other][own];
    out = &sent;
    ++mail_.sent[static_cast<std::size_t>(channel)];
    while (in == nullptr) std::this_thread::yield();
    const std::span<const std::byte> from = *in;
    CHECK(from.size() == received.size());
    if (!from.empty()) std::memcpy(received.data(), from.data(), from.size());
    in = nullptr;                                      // it was read
    while (out != nullptr) std::this_thread::yield();  // so was ours
  }
  void abort(int) override { std::terminate(); }

 private:
  Mail& mail_;
};

/// Runs `body` in `processes` processes of `members` members each. What one throws ends the test.
inline void run_group(int processes, int members, Mail& mail,
                      const std::function<void(Communicator&)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < processes; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadProcesses own(rank, processes, mail);
      run_members(members, &own, body);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace gradus::test
