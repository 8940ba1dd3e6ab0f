#include "tensor/cuda/emulator/counters.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "tensor/cuda/emulator/emulator.h"
#include "tensor/cuda/emulator/intrinsics.h"
#include "tensor/cuda/emulator/scheduler.h"

namespace gradus::cuda::emulator {
namespace {

constexpr int lanes = 32, banks = 32;
constexpr std::uint64_t word_bytes = 4, sector_bytes = 32;

struct Access {
  std::uint64_t begin;
  std::size_t bytes;
};

/// The accesses of a thread since the last barrier, in their order.
struct ThreadAccesses {
  std::vector<Access> shared, global;
};

AccessCounters totals;

std::array<ThreadAccesses, max_threads>& threads() {
  static auto* all = new std::array<ThreadAccesses, max_threads>;
  return *all;
}

ThreadAccesses& accesses_of_this_thread() { return threads()[thread_index()]; }

/// Which thread wrote an element of a shared array last.
std::unordered_map<const void*, std::size_t>& writers() {
  static auto* all = new std::unordered_map<const void*, std::size_t>;
  return *all;
}

void remove_repeated(std::vector<std::uint64_t>& x) {
  std::ranges::sort(x);
  x.erase(std::unique(x.begin(), x.end()), x.end());
}

/// Turns for these words: as many as the bank with the most different ones has.
std::int64_t turns_for(std::vector<std::uint64_t>& words) {
  remove_repeated(words);
  std::array<std::int64_t, banks> in_bank{};
  for (const std::uint64_t word : words) ++in_bank[word % banks];
  return std::ranges::max(in_bank);
}

/// One access of each lane that has one (bytes > 0). Lanes together move at most 128 bytes a turn:
/// all of them words, half of them pairs of words, or a quarter of them 16 bytes.
void count_shared_request(const std::array<Access, lanes>& request) {
  std::size_t bytes = word_bytes;
  for (const Access& access : request) bytes = std::max(bytes, access.bytes);
  const std::size_t piece = bytes % 16 == 0 ? 16 : bytes % 8 == 0 ? 8 : 4;  // of an instruction
  const int together = static_cast<int>(banks * word_bytes / piece);
  static std::vector<std::uint64_t> words;
  for (std::size_t at = 0; at < bytes; at += piece) {
    ++totals.shared_requests;
    for (int first = 0; first < lanes; first += together) {
      words.clear();
      for (int lane = first; lane < first + together; ++lane) {
        const auto [begin, size] = request[static_cast<std::size_t>(lane)];
        for (std::size_t byte = at; byte < std::min(at + piece, size); byte += word_bytes) {
          words.push_back((begin + byte) / word_bytes);
        }
      }
      if (words.empty()) continue;
      totals.shared_wavefronts += turns_for(words);
      ++totals.shared_ideal_wavefronts;
    }
  }
}

void count_global_request(const std::array<Access, lanes>& request) {
  static std::vector<std::uint64_t> sectors;
  sectors.clear();
  for (const auto& [begin, bytes] : request) {
    for (std::uint64_t sector = begin / sector_bytes; sector * sector_bytes < begin + bytes;
         ++sector) {
      if (bytes > 0) sectors.push_back(sector);
    }
  }
  remove_repeated(sectors);
  ++totals.global_requests;
  totals.global_sectors += static_cast<std::int64_t>(sectors.size());
}

/// Calls count(request) for the n-th accesses of the warp's lanes, for each n, and forgets them.
template <class Count>
void count_requests(std::size_t first_thread, std::vector<Access> ThreadAccesses::*list,
                    const Count& count) {
  std::size_t requests = 0;
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    requests = std::max(requests, (threads()[first_thread + lane].*list).size());
  }
  for (std::size_t n = 0; n < requests; ++n) {
    std::array<Access, lanes> request{};
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::vector<Access>& accesses = threads()[first_thread + lane].*list;
      if (n < accesses.size()) request[lane] = accesses[n];
    }
    count(request);
  }
  for (std::size_t lane = 0; lane < lanes; ++lane) (threads()[first_thread + lane].*list).clear();
}

}  // namespace

AccessCount::AccessCount() : order_check_(order_check()) {
  set_order_check(false);
  end_requests();  // of a launch that failed under an earlier count
  totals = {};
  counts_accesses = true;
}

AccessCount::~AccessCount() {
  counts_accesses = false;
  set_order_check(order_check_);
}

const AccessCounters& AccessCount::counters() const { return totals; }

void note_shared_access(std::uint64_t offset, std::size_t bytes) {
  accesses_of_this_thread().shared.push_back({offset, bytes});
}

void note_global_access(const void* address, std::size_t bytes) {
  accesses_of_this_thread().global.push_back({reinterpret_cast<std::uintptr_t>(address), bytes});
}

void note_shared_element(const void* element, bool is_write) {
  if (is_write) {
    writers()[element] = thread_index();
  } else if (writers()[element] != thread_index()) {
    ++totals.shared_reads_of_others;
  }
}

void note_tensor_product() { ++totals.tensor_products; }
void note_lane_exchange() { ++totals.lane_exchanges; }

void end_requests() {
  for (std::size_t first = 0; first < max_threads; first += lanes) {
    count_requests(first, &ThreadAccesses::shared, count_shared_request);
    count_requests(first, &ThreadAccesses::global, count_global_request);
  }
}

}  // namespace gradus::cuda::emulator
