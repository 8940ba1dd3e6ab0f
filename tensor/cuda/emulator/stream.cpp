#include "tensor/cuda/emulator/stream.h"

#include <chrono>
#include <mutex>

using gradus::cuda::emulator::Capture;
using gradus::cuda::emulator::Operation;
using gradus::cuda::emulator::set_last_error;
using Clock = std::chrono::steady_clock;

struct CUstream_st {
  std::shared_ptr<Capture> capture;
};
struct CUevent_st {
  Clock::time_point time;
  std::shared_ptr<Capture> capture;  // that it was recorded in
  cudaStream_t stream = nullptr;
};
struct CUgraph_st {
  std::vector<Operation> operations;
};
struct CUgraphExec_st {
  std::vector<Operation> operations;
};

namespace gradus::cuda::emulator {
namespace {

thread_local cudaError_t last_error = cudaSuccess;
std::weak_ptr<Capture> latest_capture;
bool late_branches = false;
thread_local bool in_host_function = false;

/// The capture that a stream takes part in, or nullptr. nullptr is the stream that always exists.
Capture* open_capture(cudaStream_t stream) {
  if (!stream || !stream->capture) return nullptr;
  if (!stream->capture->open) stream->capture.reset();
  return stream->capture.get();
}

}  // namespace

std::vector<Operation>& Capture::operations_of(cudaStream_t stream) {
  if (stream == origin) return operations;
  std::vector<Operation>& held = unjoined[stream];
  return late_branches ? held : operations;
}

void set_late_branches(bool on) { late_branches = on; }

cudaError_t set_last_error(cudaError_t status) {
  if (status != cudaSuccess) last_error = status;
  return status;
}

bool is_in_host_function() { return in_host_function; }

cudaError_t enqueue(cudaStream_t stream, Operation operation) {
  if (in_host_function) return set_last_error(cudaErrorNotPermitted);
  if (Capture* capture = open_capture(stream)) {
    capture->operations_of(stream).push_back(std::move(operation));
    return cudaSuccess;
  }
  return set_last_error(operation());
}

bool is_captured(cudaStream_t stream) { return open_capture(stream) != nullptr; }

bool strict_capture_is_open() {
  const auto capture = latest_capture.lock();
  return capture && capture->open && capture->mode != cudaStreamCaptureModeRelaxed;
}

}  // namespace gradus::cuda::emulator

using namespace gradus::cuda::emulator;

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

// Waiting: everything is done already, but a captured stream has nothing to wait for. There, an
// event stands for all that its stream was given before the wait.
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (in_host_function) return set_last_error(cudaErrorNotPermitted);
  return set_last_error(is_captured(stream) ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}
cudaError_t cudaDeviceSynchronize() {
  if (in_host_function) return set_last_error(cudaErrorNotPermitted);
  const auto capture = latest_capture.lock();
  const bool captured = capture && capture->open;
  return set_last_error(captured ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (!event->capture || !event->capture->open) {
    if (event->stream == nullptr || !is_captured(stream)) return cudaSuccess;
    stream->capture->valid = false;  // a graph cannot wait for what is outside it
    return set_last_error(cudaErrorStreamCaptureIsolation);
  }
  if (!stream) return cudaSuccess;
  stream->capture = event->capture;
  if (stream == event->stream) return cudaSuccess;
  std::vector<Operation>& later = stream->capture->operations_of(stream);
  if (const auto earlier = stream->capture->unjoined.extract(event->stream); !earlier.empty())
    later.insert(later.end(), earlier.mapped().begin(), earlier.mapped().end());
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* argument) {
  return enqueue(stream, [=] {
    in_host_function = true;
    function(argument);
    in_host_function = false;
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->time = Clock::now();
  event->capture = is_captured(stream) ? stream->capture : nullptr;
  event->stream = stream;
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const bool captured = event->capture && event->capture->open;
  return set_last_error(captured ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return cudaEventQuery(event); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (!stream || is_captured(stream)) return set_last_error(cudaErrorStreamCaptureUnsupported);
  stream->capture = std::make_shared<Capture>(Capture{.origin = stream, .mode = mode});
  latest_capture = stream->capture;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!is_captured(stream) || stream->capture->origin != stream)
    return set_last_error(cudaErrorStreamCaptureUnmatched);
  const std::shared_ptr<Capture> capture = std::move(stream->capture);
  capture->open = false;
  if (!capture->valid) return set_last_error(cudaErrorStreamCaptureInvalidated);
  if (!capture->unjoined.empty()) return set_last_error(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st{std::move(capture->operations)};
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new CUgraphExec_st{graph->operations};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const Operation& operation : executable->operations) {
    if (const cudaError_t status = enqueue(stream, operation); status != cudaSuccess) return status;
  }
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
