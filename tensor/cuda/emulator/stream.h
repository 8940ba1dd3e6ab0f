// Streams: the order of a GPU's work.
//
// A stream is a queue: what the host puts in runs in that order, while the host goes on. Here each
// operation runs when it is put in, which is one of the orders a GPU may choose. While a stream is
// captured, operations are recorded instead, as a graph that can be launched as often as wanted. Of
// several streams in a capture, events tell which order a GPU must keep.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace gradus::cuda::emulator {

using Operation = std::function<cudaError_t()>;

/// Remembers a status for cudaGetLastError, and returns it.
cudaError_t set_last_error(cudaError_t status);

/// Runs the operation, or records it if the stream is being captured.
cudaError_t enqueue(cudaStream_t stream, Operation operation);

/// Whether the stream is being captured; whether some stream is, in a mode in which the host may
/// not call what can wait (cudaMalloc).
bool is_captured(cudaStream_t stream);
bool strict_capture_is_open();

/// Whether this thread runs a function of cudaLaunchHostFunc, from which CUDA must not be called.
bool is_in_host_function();

/// What cudaFuncSetAttribute does.
cudaError_t set_dynamic_shared_limit(const void* kernel, int bytes);

/// A capture that streams take part in.
struct Capture {
  cudaStream_t origin;
  cudaStreamCaptureMode mode;
  std::vector<Operation> operations{};
  /// The other streams whose work nothing waits for yet, and the part of it that is held back
  /// (set_late_branches).
  std::map<cudaStream_t, std::vector<Operation>> unjoined{};
  bool open = true;
  bool valid = true;

  /// Where the operations of a stream go.
  std::vector<Operation>& operations_of(cudaStream_t stream);
};

}  // namespace gradus::cuda::emulator
