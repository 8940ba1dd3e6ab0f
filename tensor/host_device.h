// Marks functions that both back ends compile: GRADUS_HOST_DEVICE float square(float x).
#pragma once

#if defined(__CUDACC__)
#define GRADUS_HOST_DEVICE __host__ __device__
#else
#define GRADUS_HOST_DEVICE
#endif
