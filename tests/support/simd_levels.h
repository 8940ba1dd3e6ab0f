// Runs a test at each level of vector instructions that this machine has.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "tensor/cpu/simd/level.h"

namespace gradus::test {

/// Calls function() at each level, and puts back the level that was in use.
template <class Function>
void at_each_simd_level(const Function& function) {
  struct Restore {
    cpu::simd::Level level = cpu::simd::level();
    ~Restore() { cpu::simd::set_level(level); }
  } restore;
  for (const cpu::simd::Level level : cpu::simd::available_levels()) {
    const std::string simd_level(name(level));
    CAPTURE(simd_level);
    cpu::simd::set_level(level);
    function();
  }
}

}  // namespace gradus::test
