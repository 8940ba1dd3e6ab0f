// Sets of numbers as ranges: what is free, and what is backed by memory, in a range of addresses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <optional>

namespace gradus::cpu {

/// A set of numbers, kept as the fewest ranges [begin, end): neighbours are joined.
class RangeSet {
 public:
  using Map = std::map<std::size_t, std::size_t>;  // begin -> end
  Map::const_iterator begin() const { return ranges_.begin(); }
  Map::const_iterator end() const { return ranges_.end(); }

  /// Adds [first, last); returns how many of its numbers are new.
  std::size_t insert(std::size_t first, std::size_t last) {
    std::size_t added = last - first;
    auto range = ranges_.upper_bound(first);
    if (range != ranges_.begin() && std::prev(range)->second >= first) --range;
    while (range != ranges_.end() && range->first <= last) {  // overlaps or touches
      const auto [other_first, other_last] = *range;
      added -= std::min(last, other_last) - std::min(last, std::max(first, other_first));
      first = std::min(first, other_first);
      last = std::max(last, other_last);
      range = ranges_.erase(range);
    }
    ranges_.emplace_hint(range, first, last);
    return added;
  }

  /// Takes [first, last) out; returns how many of its numbers were there.
  std::size_t erase(std::size_t first, std::size_t last) {
    std::size_t removed = 0;
    auto range = ranges_.upper_bound(first);
    if (range != ranges_.begin() && std::prev(range)->second > first) --range;
    while (range != ranges_.end() && range->first < last) {
      const auto [other_first, other_last] = *range;
      range = ranges_.erase(range);
      if (other_first < first) ranges_.emplace(other_first, first);
      if (other_last > last) ranges_.emplace(last, other_last);
      removed += std::min(last, other_last) - std::max(first, other_first);
    }
    return removed;
  }

  /// Whether all of [first, last) is there.
  bool contains(std::size_t first, std::size_t last) const {
    const auto range = ranges_.upper_bound(first);
    return range != ranges_.begin() && std::prev(range)->second >= last;
  }

  /// Where the smallest range of at least `size` numbers begins, the first of equal ones.
  std::optional<std::size_t> best_fit(std::size_t size) const {
    std::optional<std::size_t> best;
    std::size_t smallest = 0;
    for (const auto& [first, last] : ranges_) {
      if (last - first < size || (best && last - first >= smallest)) continue;
      best = first;
      smallest = last - first;
    }
    return best;
  }

 private:
  Map ranges_;
};

}  // namespace gradus::cpu
