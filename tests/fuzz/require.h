// What a fuzzed program must hold.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace gradus::test {

/// Ends the program, so that the fuzzer keeps the input, unless `condition` holds.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace gradus::test
