#include <gradus/tensor/storage.h>

#include "tensor/backend/runtime.h"

namespace gradus {

Storage::Storage(std::size_t bytes, Device device)
    : data_(GRADUS_BACKEND(device, allocate(bytes))), bytes_(bytes), device_(device) {}

Storage::~Storage() { GRADUS_BACKEND(device_, deallocate(data_, bytes_)); }

MemoryStats memory_stats(Device device) { return GRADUS_BACKEND(device, memory_stats()); }

void reset_peak_memory(Device device) { GRADUS_BACKEND(device, reset_peak_memory()); }

void release_cached_memory(Device device) { GRADUS_BACKEND(device, release_cached_memory()); }

}  // namespace gradus
