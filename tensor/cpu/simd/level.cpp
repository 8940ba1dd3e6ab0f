#include "tensor/cpu/simd/level.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include <gradus/tensor/check.h>
#include "tensor/cpu/simd/inner_kernels.h"

namespace gradus::cpu::simd {

extern const bool requirements_checked;  // required.cpp

namespace generic {
extern const Kernels kernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avx512_bf16 {
extern const Kernels kernels;
}
#endif

namespace {

const Kernels& kernels_of(Level level) {
  switch (level) {
#if defined(__x86_64__)
    case Level::avx512_bf16: return avx512_bf16::kernels;
    case Level::avx512: return avx512::kernels;
    case Level::avx2: return avx2::kernels;
#endif
    default: return generic::kernels;
  }
}

std::vector<Level> find_levels() {
  std::vector<Level> levels{Level::generic};
#if defined(__x86_64__)
  const auto add = [&](Level level, bool available) {
    if (available) levels.push_back(level);
    return available;
  };
  add(Level::avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) &&
      add(Level::avx512, __builtin_cpu_supports("x86-64-v4")) &&
      add(Level::avx512_bf16, __builtin_cpu_supports("avx512bf16"));
#endif
  return levels;
}

Level first_level() {
  check(requirements_checked, "simd", "the processor was not checked");
  const auto& levels = available_levels();
  const char* wanted = std::getenv("GRADUS_SIMD");
  if (wanted == nullptr || *wanted == '\0') return levels.back();
  std::string names;
  for (const Level level : levels) {
    if (name(level) == wanted) return level;
    names += (names.empty() ? "" : ", ") + std::string(name(level));
  }
  fail("simd", "GRADUS_SIMD={} is not a level that this processor and build have: {}", wanted,
       names);
}

struct Current {
  Level level;
  const Kernels* kernels;
};

Current& current() {
  static Current current = [] {
    const Level level = first_level();
    return Current{level, &kernels_of(level)};
  }();
  return current;
}

}  // namespace

std::string_view name(Level level) {
  switch (level) {
    case Level::generic: return "generic";
    case Level::avx2: return "avx2";
    case Level::avx512: return "avx512";
    case Level::avx512_bf16: return "avx512_bf16";
  }
  return "";
}

const std::vector<Level>& available_levels() {
  static const std::vector<Level> levels = find_levels();
  return levels;
}

Level level() { return current().level; }

void set_level(Level level) {
  const auto& levels = available_levels();
  check(std::find(levels.begin(), levels.end(), level) != levels.end(), "simd",
        "this processor or build has no level {}", name(level));
  current() = {level, &kernels_of(level)};
}

const Kernels& kernels() { return *current().kernels; }

}  // namespace gradus::cpu::simd
