#include <gradus/tensor/philox.h>
#include "check.h"

GRADUS_EXERCISE {
  for (std::uint32_t n = 0; n < 100; ++n) {
    Words counter{n, 7 * n, n << 20, 3};
    std::array<std::uint32_t, 2> key{n + 1, 0xDEADBEEF};
    const auto join = [](std::uint32_t low, std::uint32_t high) {
      return std::uint64_t{high} << 32 | low;
    };
    const gradus::PhiloxBlock expected = gradus::philox(
        join(key[0], key[1]), join(counter[0], counter[1]), join(counter[2], counter[3]));
    for (int round = 0; round < 10; ++round) {
      counter = philox_round(counter, key);
      key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
    }
    for (std::size_t i = 0; i < 4; ++i)
      expect(counter[i] == expected.word[i],
             fmt::format("after ten rounds word {} is {:#010x}, expected {:#010x}", i, counter[i],
                         expected.word[i]),
             "a product of two 32-bit numbers without std::uint64_t loses its upper half; mind the "
             "order of the four words");
  }
}
