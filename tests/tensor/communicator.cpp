#include <gradus/tensor/communicator.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/thread_processes.h"

using namespace gradus;

namespace {

using Values = std::vector<float>;

/// Values that no two members share, whose sum depends on the order: from 1e-4 to 1e4.
Values values_of(int member, std::int64_t n) {
  Values values;
  for (std::int64_t i = 0; i < n; ++i) {
    const double x = std::sin(double(i * 37 + member * 101 + 1));
    values.push_back(float(x * std::pow(10.0, double((i + member) % 9 - 4))));
  }
  return values;
}

/// Counts that the function it stands in has ended.
struct CountedEnd {
  std::atomic<int>& ended;
  ~CountedEnd() { ++ended; }
};

/// The sum over members [first, last) as the tree takes it.
Values sum_in_tree(int first, int last, std::int64_t n) {
  if (last - first == 1) return values_of(first, n);
  const int middle = (first + last) / 2;
  Values left = sum_in_tree(first, middle, n);
  const Values right = sum_in_tree(middle, last, n);
  for (std::size_t i = 0; i < left.size(); ++i) left[i] += right[i];
  return left;
}

/// The same in the order of ranks.
Values sum_in_order(int members, std::int64_t n) {
  Values sum = values_of(0, n);
  for (int member = 1; member < members; ++member) {
    const Values more = values_of(member, n);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
  }
  return sum;
}

bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// Runs `body` in `processes` processes of `members` members each.
void run_group(int processes, int members, const std::function<void(Communicator&)>& body) {
  if (processes == 1) return run_members(members, nullptr, body);
  test::Mail mail(processes);
  test::run_group(processes, members, mail, body);
}

/// Calls function(processes, members of each) for every way to place 1, 2, 4 and 8 members.
void for_each_placement(const std::function<void(int, int)>& function) {
  for (int size = 1; size <= 8; size *= 2) {
    for (int processes = 1; processes <= size; processes *= 2) {
      CAPTURE(size);
      CAPTURE(processes);
      function(processes, size / processes);
    }
  }
}

}  // namespace

TEST_SUITE_BEGIN("communicator" * test::cpu_only());

TEST_CASE("sums have the bits of the tree, wherever the members are") {
  for_each_placement([](int processes, int members) {
    const int size = processes * members;
    for (const std::int64_t n : {0, 1, 3, 5000, 20011}) {
      CAPTURE(n);
      const Values expected = sum_in_tree(0, size, n);
      if (size >= 4 && n == 5000) CHECK_FALSE(same_bits(expected, sum_in_order(size, n)));
      std::atomic<int> right = 0;
      run_group(processes, members, [&](Communicator& communicator) {
        Tensor x = from_vector(values_of(communicator.rank(), n), {n});
        communicator.all_reduce(x);
        right += communicator.size() == size && same_bits(x.to_vector<float>(), expected);
      });
      CHECK(right == size);
    }
  });
}

TEST_CASE("another library's sums are taken where any order is allowed") {
  struct OwnSums : test::ThreadProcesses {
    using ThreadProcesses::ThreadProcesses;
    bool sum_in_any_order(Channel, DType, void* x, std::int64_t n) override {
      std::fill_n(static_cast<float*>(x), n, 42.0F);
      return true;
    }
  };
  for (const bool allowed : {false, true}) {
    test::Mail mail(2);
    std::vector<std::thread> threads;
    std::array<Values, 2> sums;
    for (const int rank : {0, 1}) {
      threads.emplace_back([&, rank] {
        OwnSums processes(rank, 2, mail);
        processes.allow_any_order(allowed);
        run_members(1, &processes, [&](Communicator& communicator) {
          Tensor x = from_vector(values_of(rank, 7), {7});
          communicator.all_reduce(x);
          sums[static_cast<std::size_t>(rank)] = x.to_vector<float>();
        });
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Values& sum : sums)
      CHECK(same_bits(sum, allowed ? Values(7, 42.0F) : sum_in_tree(0, 2, 7)));
  }
}

TEST_CASE("sums in the background have the same bits, whatever is done beside them") {
  for_each_placement([](int processes, int members) {
    const int size = processes * members;
    const std::vector<std::int64_t> lengths{20011, 1, 0, 3, 8193};
    std::atomic<int> right = 0;
    run_group(processes, members, [&](Communicator& communicator) {
      const int rank = communicator.rank();
      bool good = true;
      std::vector<Tensor> sums;
      std::vector<std::shared_future<void>> started;
      for (const std::int64_t n : lengths) {
        sums.push_back(from_vector(values_of(rank, n), {n}));
        started.push_back(communicator.start_all_reduce(sums.back()));
        Tensor x = from_vector(values_of(rank, 7), {7});
        communicator.all_reduce(x);
        good = good && same_bits(x.to_vector<float>(), sum_in_tree(0, size, 7));
      }
      for (std::size_t i = lengths.size(); i-- > 0;) {  // a later one is done after an earlier one
        started[i].get();
        good = good && sums[i].unique();  // what is done holds no memory
        good = good && same_bits(sums[i].to_vector<float>(), sum_in_tree(0, size, lengths[i]));
      }
      right += good;
    });
    CHECK(right == size);
  });
}

TEST_CASE("gathered tensors are in the order of ranks, broadcast ones are the root's") {
  for_each_placement([](int processes, int members) {
    const int size = processes * members;
    std::vector<std::int64_t> expected;
    for (int rank = 0; rank < size; ++rank)
      for (const int i : {0, 1, 2}) expected.push_back(10 * rank + i);
    std::atomic<int> right = 0;
    run_group(processes, members, [&](Communicator& communicator) {
      const std::int64_t ten = 10 * communicator.rank();
      const Tensor all = communicator.all_gather(arange(ten, ten + 3));
      bool good = all.shape() == Shape{size, 3} && all.to_vector<std::int64_t>() == expected;
      good = good && communicator.all_gather(Tensor(zeros({0, 2}))).shape() == Shape{size, 0, 2};
      for (int root = 0; root < size; ++root) {
        Tensor x = from_vector<std::uint8_t>({static_cast<std::uint8_t>(communicator.rank())}, {});
        communicator.broadcast(x, root);
        good = good && x.item<std::uint8_t>() == root;
      }
      communicator.barrier();
      right += good;
    });
    CHECK(right == size);
  });
}

TEST_CASE("a barrier holds everyone until the last one comes") {
  for (const int processes : {1, 2, 4}) {
    std::atomic<int> there = 0, early = 0;
    run_group(processes, 4 / processes, [&](Communicator& communicator) {
      for (int round = 1; round <= 20; ++round) {
        if (communicator.rank() == round % 4)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ++there;
        communicator.barrier();
        early += there < 4 * round;
        communicator.barrier();
      }
    });
    CHECK(early == 0);
  }
}

TEST_CASE("the first member is done before the others start") {
  std::atomic<bool> done = false;
  std::atomic<int> too_early = 0;
  run_members(4, nullptr, [&](Communicator& communicator) {
    communicator.first_then_others([&] {
      if (communicator.rank() == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        done = true;
      }
      too_early += !done;
    });
  });
  CHECK(too_early == 0);
}

TEST_CASE("a member's exception stops the others and is thrown once they have ended") {
  std::atomic<int> ended = 0;
  const auto body = [&](Communicator& communicator) {
    const CountedEnd end{ended};
    communicator.barrier();
    check(communicator.rank() != 2, "test", "member 2 fails");
    while (true) communicator.barrier();
  };
  CHECK_THROWS_WITH_AS(run_members(4, nullptr, body), "[test] member 2 fails", Error);
  CHECK(ended == 4);
}

TEST_CASE("an exception while sums are taken in the background stops all members") {
  // Whether the one that fails has started what the others wait for, or waits itself for nobody.
  for (const bool fails_first : {false, true}) {
    std::atomic<int> ended = 0;
    const auto body = [&](Communicator& communicator) {
      const CountedEnd end{ended};
      // Large enough that some may still read what those show who are stopped.
      Tensor x = ones({1 << 12}), y = ones({3});
      communicator.start_all_reduce(x);
      if (communicator.rank() == 2) {
        if (!fails_first) communicator.start_all_reduce(y);
        fail("test", "member 2 fails");
      }
      if (fails_first) communicator.start_all_reduce(y).get();
      communicator.barrier();
    };
    CHECK_THROWS_WITH_AS(run_members(4, nullptr, body), "[test] member 2 fails", Error);
    CHECK(ended == 4);
  }
}

TEST_CASE("what members cannot do together is refused") {
  CHECK_THROWS_WITH_AS(run_members(3, nullptr, [](Communicator&) {}),
                       "[communicator] a process has 1, 2, 4, 8, ... members; got 3", Error);
  CHECK_THROWS_AS(run_members(0, nullptr, [](Communicator&) {}), Error);
  const auto sizes_differ = [](Communicator& communicator) {
    Tensor x = zeros({communicator.rank() + 1});
    communicator.all_reduce(x);
  };
  CHECK_THROWS_WITH_AS(run_members(2, nullptr, sizes_differ),
                       "[communicator] its members' tensors must have one size; got different ones",
                       Error);
  const auto sizes_differ_later = [](Communicator& communicator) {
    Tensor x = zeros({communicator.rank() + 1});
    const auto started = communicator.start_all_reduce(x);
    communicator.barrier();
    started.get();
  };
  CHECK_THROWS_AS(run_members(2, nullptr, sizes_differ_later), Error);
  const auto integers = [](Communicator& communicator) {
    Tensor x = arange(0, 2);
    communicator.all_reduce(x);
  };
  for (const int members : {1, 2})
    CHECK_THROWS_WITH_AS(run_members(members, nullptr, integers),
                         "[all_reduce] elements must be float32 or float64; got int64", Error);
  const auto undefined = [](Communicator& communicator) {
    Tensor x;
    communicator.all_reduce(x);
  };
  CHECK_THROWS_AS(run_members(1, nullptr, undefined), Error);
  const auto other_size = [](Communicator& communicator) {
    merge_statistics({zeros({4}), zeros({2})}, communicator);
  };
  CHECK_THROWS_WITH_AS(run_members(1, nullptr, other_size),
                       "[merge_statistics] variance must have shape [4]; got [2]", Error);
  const auto bad_root = [](Communicator& communicator) {
    Tensor x = zeros({1});
    communicator.broadcast(x, 2);
  };
  CHECK_THROWS_AS(run_members(2, nullptr, bad_root), Error);
}

TEST_CASE("members that did not agree on a size can on the next") {
  std::atomic<int> refused = 0, right = 0;
  run_members(4, nullptr, [&](Communicator& communicator) {
    for (int round = 0; round < 50; ++round) {
      Tensor differs = zeros({communicator.rank() == round % 4 ? 3 : 2});
      try {
        communicator.all_reduce(differs);
      } catch (const Error&) {
        ++refused;
      }
      Tensor x = ones({5});
      communicator.all_reduce(x);
      right += test::same_bits(x, full({5}, 4));
    }
  });
  CHECK(refused == 200);
  CHECK(right == 200);
}

TEST_CASE("a background sum that fails ends all members, with its own error") {
  struct Cut : Processes {
    Cut() : Processes(0, 2) {}
    int local_rank() const override { return 0; }
    int local_size() const override { return 2; }
    void exchange(Channel channel, int, std::span<const std::byte> sent,
                  std::span<std::byte> received) override {
      if (channel == Channel::background) throw Error("the connection is cut");
      std::copy(sent.begin(), sent.end(), received.begin());
    }
    void abort(int) override { std::terminate(); }
  };
  for (int run = 0; run < 20; ++run) {
    Cut processes;
    CHECK_THROWS_WITH_AS(run_members(2, &processes,
                                     [](Communicator& communicator) {
                                       std::vector<Tensor> parts;
                                       std::vector<std::shared_future<void>> sums;
                                       for (std::int64_t n = 1; n <= 6; ++n)
                                         sums.push_back(communicator.start_all_reduce(
                                             parts.emplace_back(zeros({n}))));
                                       std::this_thread::sleep_for(std::chrono::milliseconds(20));
                                       communicator.barrier();
                                       for (auto& sum : sums) sum.get();
                                     }),
                         "the connection is cut", Error);
  }
}

TEST_CASE("members end after their sums, whoever holds the futures") {
  for (int run = 0; run < 20; ++run) {
    std::array<std::shared_future<void>, 2> kept;
    std::array<Tensor, 2> x{ones({1 << 16}), ones({1 << 16})};
    run_members(2, nullptr, [&](Communicator& communicator) {
      const auto i = static_cast<std::size_t>(communicator.rank());
      kept[i] = communicator.start_all_reduce(x[i]);
    });
    for (const auto& sum : kept)
      REQUIRE(sum.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
    CHECK(test::same_bits(x[0], full({1 << 16}, 2)));
  }
}

TEST_SUITE_END();

// Of tensors that stay on a GPU. A real one may have one thread for all that the host does in its
// streams' turn, and in these tests the processes are threads that wait for each other there;
// tests/cuda/exchange.cpp has one process and a partner that never waits.
TEST_SUITE_BEGIN("communicator on a GPU" * test::gpu_only());

TEST_CASE("sums on a GPU have the bits of the tree") {
  if (!test::on_emulator()) return;
  for (const int size : {2, 4, 8}) {
    for (const std::int64_t n : {0, 1, 513, 8195}) {
      CAPTURE(size);
      CAPTURE(n);
      const Values expected = sum_in_tree(0, size, n), seven = sum_in_tree(0, size, 7);
      std::atomic<int> right = 0;
      run_group(size, 1, [&](Communicator& communicator) {
        const int rank = communicator.rank();
        Tensor x = test::device_vector(values_of(rank, n), {n});
        Tensor beside = test::device_vector(values_of(rank, n), {n});
        Tensor small = test::device_vector(values_of(rank, 7), {7});
        const auto started = communicator.start_all_reduce(beside);
        communicator.all_reduce(small);
        communicator.all_reduce(x);
        started.get();
        right += x.device() == Device::cuda && same_bits(x.to_vector<float>(), expected) &&
                 same_bits(beside.to_vector<float>(), expected) &&
                 same_bits(small.to_vector<float>(), seven);
      });
      CHECK(right == size);
    }
  }
}

TEST_CASE("gathered and broadcast tensors of a GPU") {
  if (!test::on_emulator()) return;
  for (const int size : {2, 4, 8}) {
    CAPTURE(size);
    std::vector<std::int64_t> expected;
    for (int rank = 0; rank < size; ++rank)
      for (const int i : {0, 1, 2}) expected.push_back(10 * rank + i);
    std::atomic<int> right = 0;
    run_group(size, 1, [&](Communicator& communicator) {
      const std::int64_t ten = 10 * communicator.rank();
      const Tensor all = communicator.all_gather(test::on_device(arange(ten, ten + 3)));
      bool good = all.shape() == Shape{size, 3} && all.to_vector<std::int64_t>() == expected;
      const Tensor none = communicator.all_gather(zeros({0, 2}, test::device_options()));
      good = good && none.shape() == Shape{size, 0, 2};
      for (int root = 0; root < size; ++root) {
        Tensor x = zeros({5}, test::device_options());
        x.fill(communicator.rank());
        communicator.broadcast(x, root);
        good = good && x.to_vector<float>() == Values(5, static_cast<float>(root));
      }
      right += good;
    });
    CHECK(right == size);
  }
}

TEST_CASE("a GPU's integers are not added up") {
  if (!test::on_emulator()) return;
  std::atomic<int> refused = 0;
  run_group(2, 1, [&](Communicator& communicator) {
    Tensor x = test::on_device(arange(0, 2));
    try {
      communicator.all_reduce(x);
    } catch (const Error&) {
      ++refused;
    }
  });
  CHECK(refused == 2);
}

TEST_SUITE_END();
