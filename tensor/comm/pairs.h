// How P = 1, 2, 4, ... processes compute together by exchanges in pairs: at distance 1, 2, 4, ...
// each of them has one partner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "tensor/backend/range.h"

namespace gradus {

/// Bytes of the memory that the processes work on; each has one of the same size.
using ByteRange = BasicRange<std::size_t>;

/// Exchanges parts of that memory with another process: gives it the bytes `sent`, and takes as
/// many as that one gives for `received`: adds their numbers to those that are there (`adds`), or
/// overwrites them.
using Exchange = std::function<void(int partner, ByteRange sent, ByteRange received, bool adds)>;

/// The bytes of the longest sum that is exchanged whole: its messages take longer than its bytes.
inline constexpr std::size_t short_sum_bytes = std::size_t{32} << 10;

/// The sum of all processes' n numbers of `number_size` bytes, in the binary tree of their ranks. A
/// process sends and receives 2 (P - 1) / P of the bytes in 2 log2 P messages (recursive halving
/// and doubling); a short sum whole in log2 P messages.
void sum_in_pairs(int rank, int processes, std::int64_t n, std::size_t number_size,
                  const Exchange& exchange);
/// Of the blocks of all processes, `block` bytes each, in the order of ranks, every one gets the
/// others'.
void gather_in_pairs(int rank, int processes, std::size_t block, const Exchange& exchange);
/// All processes get the bytes that `root` has.
void broadcast_in_pairs(int rank, int processes, int root, std::size_t bytes,
                        const Exchange& exchange);

}  // namespace gradus
