// Compiled for any x86-64 processor, unlike the rest (CMakeLists.txt), and run before anything
// else: a processor without AVX2 gets a line of explanation instead of an illegal instruction.
#if defined(GRADUS_REQUIRE_AVX2)

#include <cstdio>
#include <cstdlib>

namespace {

[[gnu::constructor(101)]] void require_avx2() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return;
  std::fputs(
      "gradus: this processor has no AVX2, which this build needs; configure with "
      "-DGRADUS_X86_LEVEL=x86-64 and build again\n",
      stderr);
  std::_Exit(1);
}

}  // namespace

#endif

namespace gradus::cpu::simd {
/// Named by level.cpp, so that the linker keeps this file.
extern const bool requirements_checked = true;
}  // namespace gradus::cpu::simd
