#include "tensor/cpu/simd/level.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <gradus/tensor/check.h>
#include "tensor/cpu/simd/inner_kernels.h"
#include "tensor/cpu/simd/processor.h"

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
namespace amx {
extern const Kernels kernels;
}
#endif

namespace {

const Kernels& kernels_of(Level level) {
  switch (level) {
#if defined(__x86_64__)
    case Level::amx: return amx::kernels;
    case Level::avx512_bf16: return avx512_bf16::kernels;
    case Level::avx512: return avx512::kernels;
    case Level::avx2: return avx2::kernels;
#endif
    default: return generic::kernels;
  }
}

#if defined(__x86_64__)
/// Whether the processor multiplies tiles of bfloat16 and the system lets this process use them:
/// Linux keeps them across changes of threads only for processes that asked it to.
bool request_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned saves_state = 1u << 27, tiles_of_bfloat16 = 1u << 22 | 1u << 24;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & saves_state) == 0) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & tiles_of_bfloat16) != tiles_of_bfloat16) return false;
  constexpr unsigned tile_sizes_and_data = 1u << 17 | 1u << 18;
  asm("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  if ((a & tile_sizes_and_data) != tile_sizes_and_data) return false;
#if defined(__linux__)
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}
#endif

std::vector<Level> find_levels() {
  std::vector<Level> levels{Level::generic};
#if defined(__x86_64__)
  const auto add = [&](Level level, bool available) {
    if (available) levels.push_back(level);
    return available;
  };
  add(Level::avx2, has_x86_64_v3()) && add(Level::avx512, has_x86_64_v4()) &&
      add(Level::avx512_bf16, __builtin_cpu_supports("avx512bf16")) &&
      add(Level::amx, request_tiles());
#endif
  return levels;
}

/// The most, but for products of pairs of bfloat16 where they are slower than those of float.
Level fastest(const std::vector<Level>& levels) {
#if defined(__x86_64__)
  if (levels.back() == Level::avx512_bf16 && __builtin_cpu_is("intel")) return Level::avx512;
#endif
  return levels.back();
}

Level first_level() {
  check(requirements_checked, "simd", "the processor was not checked");
  const auto& levels = available_levels();
  const char* wanted = std::getenv("GRADUS_SIMD");
  if (wanted == nullptr || *wanted == '\0') return fastest(levels);
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
    case Level::amx: return "amx";
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

void set_kernels(const Kernels& others) { current().kernels = &others; }

}  // namespace gradus::cpu::simd
