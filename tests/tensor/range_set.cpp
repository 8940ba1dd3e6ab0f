#include "tensor/cpu/range_set.h"

#include <doctest/doctest.h>

#include <bitset>
#include <random>
#include <vector>

#include "tests/support/device.h"

using namespace gradus;
using cpu::RangeSet;

namespace {

using Pairs = std::vector<std::pair<std::size_t, std::size_t>>;

Pairs pairs_of(const RangeSet& ranges) { return {ranges.begin(), ranges.end()}; }

}  // namespace

TEST_SUITE_BEGIN("ranges" * test::cpu_only());

TEST_CASE("ranges that touch are one") {
  RangeSet ranges;
  CHECK(ranges.insert(10, 20) == 10);
  CHECK(ranges.insert(30, 40) == 10);
  CHECK(pairs_of(ranges) == Pairs{{10, 20}, {30, 40}});
  CHECK(ranges.insert(20, 30) == 10);
  CHECK(pairs_of(ranges) == Pairs{{10, 40}});
  CHECK(ranges.insert(15, 25) == 0);
  CHECK(ranges.insert(0, 50) == 20);
  CHECK(pairs_of(ranges) == Pairs{{0, 50}});
}

TEST_CASE("taking out leaves what is on both sides") {
  RangeSet ranges;
  ranges.insert(0, 100);
  CHECK(ranges.erase(40, 60) == 20);
  CHECK(pairs_of(ranges) == Pairs{{0, 40}, {60, 100}});
  CHECK(ranges.erase(30, 70) == 20);
  CHECK(ranges.erase(0, 30) == 30);
  CHECK(ranges.erase(0, 70) == 0);
  CHECK(pairs_of(ranges) == Pairs{{70, 100}});
}

TEST_CASE("the smallest range that is large enough, the first of equal ones") {
  RangeSet ranges;
  CHECK_FALSE(ranges.best_fit(1).has_value());
  ranges.insert(0, 9);
  ranges.insert(10, 14);
  ranges.insert(20, 30);
  ranges.insert(40, 44);
  CHECK(ranges.best_fit(2) == 10);
  CHECK(ranges.best_fit(5) == 0);
  CHECK(ranges.best_fit(10) == 20);
  CHECK_FALSE(ranges.best_fit(11).has_value());
}

TEST_CASE("ranges are the set of numbers that they stand for") {
  constexpr std::size_t size = 64;
  std::mt19937 engine(5);
  RangeSet ranges;
  std::bitset<size> expected;
  for (int round = 0; round < 2000; ++round) {
    const std::size_t first = engine() % size, last = first + 1 + engine() % (size - first);
    const bool insert = engine() % 2 == 0;
    std::size_t changed = 0;
    bool all = true;
    for (std::size_t i = first; i < last; ++i) {
      all = all && expected[i];
      changed += expected[i] != insert;
    }
    CHECK(ranges.contains(first, last) == all);
    CHECK((insert ? ranges.insert(first, last) : ranges.erase(first, last)) == changed);
    for (std::size_t i = first; i < last; ++i) expected[i] = insert;
    std::bitset<size> actual;
    std::size_t previous_end = 0;
    bool joined = true;
    for (const auto& [begin, end] : ranges) {
      joined = joined && begin < end && (begin == 0 || begin > previous_end);
      previous_end = end;
      for (std::size_t i = begin; i < end; ++i) actual.set(i);
    }
    CHECK(joined);
    CHECK(actual == expected);
  }
}

TEST_SUITE_END();
