// What the checkers of CUDA exercises share: memory of the emulated GPU, and launches on it whose
// faults become hints.
#pragma once

#include <gradus/tensor/tensor.h>
#include "check.h"
#include "tensor/cuda/emulator/counters.h"

namespace exercise {

using gradus::Tensor;

/// The values in the GPU's memory.
inline Tensor on_gpu(const std::vector<float>& values) {
  return gradus::from_vector(values, {static_cast<std::int64_t>(values.size())})
      .to(gradus::Device::cuda);
}

/// Memory of the GPU that nobody has written: it reads as NaN.
inline Tensor fresh_on_gpu(std::size_t count) {
  return gradus::empty({static_cast<std::int64_t>(count)},
                       {gradus::DType::float32, gradus::Device::cuda});
}

/// What an error of the emulated GPU means.
inline std::string hint_for(const std::string& error) {
  const auto says = [&](const char* words) { return error.find(words) != std::string::npos; };
  if (says("order of threads"))
    return "a race: threads use the same memory without a __syncthreads() between them, or two "
           "write to one element (is there a bound, with `<` and not `<=`? is a row as long as you "
           "think?)";
  if (says("barrier divergence"))
    return "every thread of a block must reach the same __syncthreads(): no return before it, none "
           "within an if";
  if (says("warp divergence") || says("warp mask"))
    return "every lane that the mask names must reach the same warp operation";
  if (says("behind") || says("before an"))
    return "a thread writes outside of its array: is there a bound, with `<` and not `<=`?";
  if (says("before this block wrote it"))
    return "no thread has written this element yet: is there a __syncthreads() between writing and "
           "reading? Or nobody writes it: are the indices right, also at the edges?";
  if (says("outside of"))
    return "an index into shared memory is too large or negative: which threads take part in this "
           "turn (`<`, not `<=`)?";
  if (says("bytes of static"))
    return "too much shared memory: is `__shared__` before each SharedArray?";
  return "the emulated GPU found a fault";
}

/// kernel<<<grid, block>>>(arguments...). The emulated GPU runs it in three orders of threads.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            Arguments... arguments) {
  try {
    const cudaError_t status = gradus::cuda::emulator::launch("exercise", kernel, grid, block,
                                                              shared_bytes, nullptr, arguments...);
    expect(status == cudaSuccess, gradus::cuda::emulator::refusal(), "the launch was refused");
  } catch (const gradus::Error& error) {
    throw Wrong(error.what(), hint_for(error.what()));
  }
}

/// What `run`, which launches a kernel once more, asks of shared memory.
template <class Run>
gradus::cuda::emulator::AccessCounters count_accesses(const Run& run) {
  const gradus::cuda::emulator::AccessCount count;
  run();
  return count.counters();
}

}  // namespace exercise
