// Kernels that are wrong, for tests of what the emulated GPU says of them.
#pragma once

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include <gradus/tensor/check.h>

namespace gradus::cuda {

/// Whether fn() throws an Error whose message contains all of `parts`; says which it does not.
inline void check_fault(const std::function<void()>& fn, const std::vector<std::string>& parts) {
  std::string message = "no error";
  try {
    fn();
  } catch (const Error& error) {
    message = error.what();
  }
  for (const std::string& part : parts) {
    CAPTURE(message);
    CAPTURE(part);
    CHECK(message.find(part) != std::string::npos);
  }
}

/// Starts one block of a kernel, by the name "faulty".
template <class... Parameters, class... Arguments>
void run(void (*kernel)(Parameters...), int threads, Arguments... arguments) {
  const cudaError_t status = emulator::launch("faulty", kernel, 1, static_cast<unsigned>(threads),
                                              0, nullptr, arguments...);
  REQUIRE(status == cudaSuccess);
}

}  // namespace gradus::cuda
