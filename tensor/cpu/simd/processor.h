// What the processor has. Not inline: files that are compiled for other processors include this,
// and each must have code of its own.
#pragma once

namespace gradus::cpu::simd {
namespace {

#if defined(__x86_64__)
/// All of x86-64-v3, AVX2 above all. (Clang before 18 does not know the levels by name.)
[[maybe_unused]] bool has_x86_64_v3() {
#if defined(__clang__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#else
  return __builtin_cpu_supports("x86-64-v3");
#endif
}

/// All of x86-64-v4: AVX-512 and its most common parts.
[[maybe_unused]] bool has_x86_64_v4() {
#if defined(__clang__)
  return has_x86_64_v3() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return __builtin_cpu_supports("x86-64-v4");
#endif
}
#endif

}  // namespace
}  // namespace gradus::cpu::simd
