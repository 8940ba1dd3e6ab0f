// Counts bank conflicts: how often a warp's access to shared memory takes more than one turn.
//
// Shared memory has 32 banks of 4 bytes side by side: word w lies in bank w % 32. In one turn each
// bank gives one word, to any number of lanes. If the lanes of a warp want k different words of a
// bank, the access takes k turns, of which k - 1 are conflicts. Elements of 8 and 16 bytes go by
// half and quarter warps.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gradus::cuda::emulator {

/// Whether accesses are recorded: a BankConflicts is alive, and a launch runs in its first order.
inline constinit bool recording_accesses = false;

/// Notes that the running thread reads or writes an element of shared memory. Accesses of a warp's
/// lanes are one instruction if they come from the same place of the kernel's machine code for the
/// same time in this block.
void record_access(const void* element, std::size_t bytes);

/// While one is alive, conflicts of SharedArrays' accesses are counted, once a launch. (Not those
/// of load_matrices, whose rows of 16 bytes are the caller's layout.)
class BankConflicts {
 public:
  BankConflicts();
  ~BankConflicts();
  BankConflicts(const BankConflicts&) = delete;
  BankConflicts& operator=(const BankConflicts&) = delete;

  /// Of the launches that have run since.
  std::uint64_t count() const;
  /// All accesses of warps to SharedArrays in these launches.
  std::uint64_t accesses() const;
};

/// For the scheduler: a block ends, and what was recorded of it is counted.
void count_block_conflicts();
/// For the scheduler: whether the grid that runs next is to be recorded.
void record_next_run(bool on);

}  // namespace gradus::cuda::emulator
