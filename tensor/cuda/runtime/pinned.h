// Page-locked memory of the host. Internal to tensor/cuda and what wraps it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace gradus::cuda {

/// A page-locked block through which one copy passes, and the event behind that copy. Locking and
/// unlocking pages waits for the GPU, so blocks are never given back to the system: they are kept
/// for the next user. All copies are ordered on stream(), so a block may be dropped while its copy
/// is under way.
class PinnedBlock {
 public:
  explicit PinnedBlock(std::size_t bytes);
  ~PinnedBlock();
  PinnedBlock(const PinnedBlock&) = delete;
  PinnedBlock& operator=(const PinnedBlock&) = delete;

  /// Takes the block's bytes `from` memory of the host, which may be reused at once, and starts
  /// their copy.
  void copy_to_device(void* to, const void* from);
  /// Starts to copy memory of the device into the block.
  void copy_from_device(const void* from);
  /// Waits until the copy is done and hands the block's bytes `to` memory of the host.
  void read(void* to) const;

  /// How many blocks there are, in use or kept.
  static std::size_t count();

 private:
  struct Memory {
    void* data = nullptr;
    cudaEvent_t copied = nullptr;
  };
  struct Pool;
  static Pool& pool();

  std::size_t bytes_;
  Memory memory_;
};

}  // namespace gradus::cuda
