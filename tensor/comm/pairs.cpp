#include "tensor/comm/pairs.h"

#include <vector>

namespace gradus {

/// At distance 1, 2, 4, ... a process and its partner exchange halves of the range that they have
/// the sum of so far, and each adds up one; then the same way back, with sums.
void sum_in_pairs(int rank, int processes, std::int64_t n, std::size_t number_size,
                  const Exchange& exchange) {
  const std::size_t whole_size = static_cast<std::size_t>(n) * number_size;
  if (whole_size <= short_sum_bytes) {
    for (int distance = 1; distance < processes; distance *= 2)
      exchange(rank ^ distance, {0, whole_size}, {0, whole_size}, /*adds=*/true);
    return;
  }
  const auto bytes = [&](Range r) {
    return ByteRange{static_cast<std::size_t>(r.begin) * number_size,
                     static_cast<std::size_t>(r.end) * number_size};
  };
  std::vector<Range> ranges{{0, n}};
  for (int distance = 1; distance < processes; distance *= 2) {
    const auto [begin, end] = ranges.back();
    const std::int64_t middle = begin + (end - begin) / 2;
    const Range lower{begin, middle}, upper{middle, end};
    const bool keeps_upper = (rank & distance) != 0;
    const Range kept = keeps_upper ? upper : lower, given = keeps_upper ? lower : upper;
    exchange(rank ^ distance, bytes(given), bytes(kept), /*adds=*/true);
    ranges.push_back(kept);
  }
  for (int distance = processes / 2; distance >= 1; distance /= 2) {
    const Range kept = ranges.back();
    ranges.pop_back();
    const Range whole = ranges.back();
    const Range missing =
        kept.begin == whole.begin ? Range{kept.end, whole.end} : Range{whole.begin, kept.begin};
    exchange(rank ^ distance, bytes(kept), bytes(missing), /*adds=*/false);
  }
}

void gather_in_pairs(int rank, int processes, std::size_t block, const Exchange& exchange) {
  for (int distance = 1; distance < processes; distance *= 2) {
    // The blocks of `distance` processes from a multiple of it on.
    const auto group_of = [&](int process) {
      const auto first = static_cast<std::size_t>(process & ~(distance - 1));
      return ByteRange{first * block, (first + static_cast<std::size_t>(distance)) * block};
    };
    const int partner = rank ^ distance;
    exchange(partner, group_of(rank), group_of(partner), /*adds=*/false);
  }
}

void broadcast_in_pairs(int rank, int processes, int root, std::size_t bytes,
                        const Exchange& exchange) {
  const int from_root = rank ^ root;
  for (int distance = 1; distance < processes; distance *= 2) {
    if (from_root >= 2 * distance) continue;
    const bool has_it = from_root < distance;
    exchange(rank ^ distance, {0, has_it ? bytes : 0}, {0, has_it ? 0 : bytes}, /*adds=*/false);
  }
}

}  // namespace gradus
