#include "tensor/cuda/emulator/bank_conflicts.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include <cuda_runtime.h>
#include "tensor/cuda/emulator/intrinsics.h"

namespace gradus::cuda::emulator {
namespace {

constexpr std::size_t banks = 32, word_bytes = 4;

struct Access {
  int lane;
  std::size_t first_word, words;
};
/// Warp, place in the machine code, and for which time a lane comes there.
using Instruction = std::tuple<int, const void*, int>;

bool counting = false;
std::uint64_t conflicts = 0, instructions = 0;
std::map<Instruction, std::vector<Access>> accesses;  // of the running block
std::map<std::pair<int, const void*>, int> times;     // by thread and place

/// The turns beyond the first that lanes [first, last) need.
std::uint64_t extra_turns(const std::vector<Access>& all, int first, int last) {
  std::array<std::set<std::size_t>, banks> wanted;  // words by bank
  for (const Access& access : all) {
    if (access.lane < first || access.lane >= last) continue;
    for (std::size_t word = access.first_word; word < access.first_word + access.words; ++word)
      wanted[word % banks].insert(word);
  }
  std::size_t turns = 1;
  for (const auto& words : wanted) turns = std::max(turns, words.size());
  return turns - 1;
}

}  // namespace

__attribute__((noinline)) void record_access(const void* element, std::size_t bytes) {
  const void* const place = __builtin_return_address(0);
  const int thread =
      static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  const int time = times[{thread, place}]++;
  accesses[{thread / 32, place, time}].push_back(
      {thread % 32, reinterpret_cast<std::uintptr_t>(element) / word_bytes,
       std::max<std::size_t>(bytes / word_bytes, 1)});
}

void count_block_conflicts() {
  for (const auto& [instruction, lanes] : accesses) {
    const int group = 32 / static_cast<int>(std::min<std::size_t>(lanes.front().words, 4));
    for (int first = 0; first < 32; first += group)
      conflicts += extra_turns(lanes, first, first + group);
  }
  instructions += accesses.size();
  accesses.clear();
  times.clear();
}

void record_next_run(bool on) {
  recording_accesses = on && counting;
  accesses.clear();
  times.clear();
}

BankConflicts::BankConflicts() {
  counting = true;
  conflicts = instructions = 0;
}

BankConflicts::~BankConflicts() { counting = false; }

std::uint64_t BankConflicts::count() const { return conflicts; }
std::uint64_t BankConflicts::accesses() const { return instructions; }

}  // namespace gradus::cuda::emulator
