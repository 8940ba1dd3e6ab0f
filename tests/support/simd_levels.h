// Runs a test at each level of vector instructions that this machine has.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "tensor/cpu/simd/inner_kernels.h"

namespace gradus::cpu::simd {
namespace plain_pairs {
extern const Kernels kernels;  // tests/tensor/plain_pairs.cpp
}
namespace plain_tiles {
extern const Kernels kernels;  // tests/tensor/plain_tiles.cpp
}
}  // namespace gradus::cpu::simd

namespace gradus::test {

/// Calls function() at each level and with the kernels of plain_pairs and plain_tiles, and puts
/// back the level that was in use.
template <class Function>
void at_each_simd_level(const Function& function) {
  struct Restore {
    cpu::simd::Level level = cpu::simd::level();
    ~Restore() { cpu::simd::set_level(level); }
  } restore;
  std::string simd_level;
  CAPTURE(simd_level);
  for (const cpu::simd::Level level : cpu::simd::available_levels()) {
    simd_level = name(level);
    cpu::simd::set_level(level);
    function();
  }
  simd_level = "plain_pairs";
  cpu::simd::set_kernels(cpu::simd::plain_pairs::kernels);
  function();
  simd_level = "plain_tiles";
  cpu::simd::set_kernels(cpu::simd::plain_tiles::kernels);
  function();
}

}  // namespace gradus::test
