// A solution of exercise 13: random numbers without a state.
#pragma once

#include <array>
#include <cstdint>

using Words = std::array<std::uint32_t, 4>;

inline Words philox_round(const Words& c, const std::array<std::uint32_t, 2>& key) {
  const std::uint64_t p = std::uint64_t{0xD2511F53} * c[0], q = std::uint64_t{0xCD9E8D57} * c[2];
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  return {high(q) ^ c[1] ^ key[0], static_cast<std::uint32_t>(q), high(p) ^ c[3] ^ key[1],
          static_cast<std::uint32_t>(p)};
}
