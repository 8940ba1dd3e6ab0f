// Stands in for the CUDA toolkit's header of this name: there is no profiler.
#pragma once

#include <cuda_runtime.h>

inline cudaError_t cudaProfilerStart() { return cudaSuccess; }
