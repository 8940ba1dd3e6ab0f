// Compiled for any x86-64 processor, unlike the rest (CMakeLists.txt), and run before anything
// else: a processor that lacks AVX2, or what came with it, gets a line of explanation instead of an
// illegal instruction.
#if defined(GRADUS_REQUIRE_AVX2)

#include <cstdio>
#include <cstdlib>

#include "tensor/cpu/simd/processor.h"

namespace {

[[gnu::constructor(101)]] void require_avx2() {
  __builtin_cpu_init();
  if (gradus::cpu::simd::has_x86_64_v3()) return;
  std::fputs(
      "gradus: this processor has no AVX2 (or not all of x86-64-v3), which this build needs; "
      "configure with -DGRADUS_X86_LEVEL=x86-64 and build again\n",
      stderr);
  std::_Exit(1);
}

}  // namespace

#endif

namespace gradus::cpu::simd {
/// Named by level.cpp, so that the linker keeps this file.
extern const bool requirements_checked = true;
}  // namespace gradus::cpu::simd
