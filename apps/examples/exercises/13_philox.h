// Exercise 13: random numbers without a state.
//
// A usual generator has a state, and the k-th number needs all before it. A counter-based one is a
// pure function: number k is hash(key, k). Any thread can draw any number, in any order, and a
// resumed run draws the same. Philox scrambles a counter c of four 32-bit words in ten rounds, each
// with a key of two words. A round makes of c, with the 64-bit products p = 0xD2511F53 * c[0] and
// q = 0xCD9E8D57 * c[2], the four words
//
//   { high(q) ^ c[1] ^ key[0],  low(q),  high(p) ^ c[3] ^ key[1],  low(p) }
//
// high and low are the upper and the lower 32 bits. After each round the key moves (by adding
// 0x9E3779B9 and 0xBB67AE85 to its words; the checker does that).
//
// Task: one round.
//
// In the library: tensor/philox.h.
#pragma once

#include <array>
#include <cstdint>

using Words = std::array<std::uint32_t, 4>;

inline Words philox_round(const Words& c, const std::array<std::uint32_t, 2>& key) {
  // TODO: std::uint64_t{0xD2511F53} * c[0] has all 64 bits.
  return c;
}
