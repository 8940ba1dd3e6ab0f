#include "tensor/cuda/runtime/spin.h"

#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {

#if defined(GRADUS_CUDA_EMULATOR)

void spin() {}  // the emulated GPU runs work while it is enqueued

#else

namespace {

__global__ void spin_kernel(long long cycles) {
  const long long begin = clock64();
  while (clock64() - begin < cycles) continue;
}

}  // namespace

// Not by launch(), which would record it.
void spin() {
  constexpr long long cycles = 200'000;  // at about 2 GHz
  long long argument = cycles;
  void* arguments[] = {&argument};
  GRADUS_CUDA_CHECK(cudaLaunchKernel(reinterpret_cast<const void*>(spin_kernel), dim3(1), dim3(1),
                                     arguments, 0, stream()));
}

#endif

}  // namespace gradus::cuda
