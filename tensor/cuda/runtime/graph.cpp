// Work recorded as a CUDA graph and replayed with one call.
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include <gradus/tensor/check.h>
#include "tensor/cuda/runtime/graph_pool.h"
#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {
namespace {

std::atomic<bool> is_recording = false;

/// What the graph that this thread records holds as long as it lives.
thread_local std::vector<std::shared_ptr<const void>>* held = nullptr;

/// What this thread's branch reads, if there is one that is not joined.
thread_local std::optional<std::vector<std::shared_ptr<const Storage>>> branch;

/// The launches that a function makes. A replay does the same work on the same addresses: tensors
/// that live longer than the function (parameters, inputs, results) keep theirs, and memory that
/// the function allocates comes from a pool that the graph keeps.
class Graph {
 public:
  /// Records work(), which must not wait for the device or copy to or from the host. Throws Error
  /// if something in it cannot be recorded; then no launch ran.
  explicit Graph(const std::function<void()>& work) : pool_(std::make_shared<GraphPool>()) {
    release_cached_memory();  // of the runs before: the graph's own pool needs as much again
    stream_of(Lane::side);    // is not made while a stream is captured
    // Relaxed: the pool may ask the driver for memory while the stream is captured.
    GRADUS_CUDA_CHECK(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed));
    is_recording = true;
    held = &held_;
    begin_graph_memory(pool_);
    cudaGraph_t graph = nullptr;
    const auto end_capture = [&] {
      join_beside();
      const cudaError_t status = cudaStreamEndCapture(stream(), &graph);
      is_recording = false;
      held = nullptr;
      end_graph_memory();
      return status;
    };
    try {
      work();
    } catch (...) {
      if (end_capture() == cudaSuccess && graph) cudaGraphDestroy(graph);
      cudaGetLastError();
      throw;
    }
    GRADUS_CUDA_CHECK(end_capture());
    // With the priorities of the streams, lest a branch's blocks compete with the others as equals.
    const cudaError_t status =
        cudaGraphInstantiate(&executable_, graph, cudaGraphInstantiateFlagUseNodePriority);
    cudaGraphDestroy(graph);
    GRADUS_CUDA_CHECK(status);
  }

  ~Graph() {
    if (!executable_) return;
    cudaStreamSynchronize(stream());
    cudaGraphExecDestroy(executable_);
  }

  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch() { GRADUS_CUDA_CHECK(cudaGraphLaunch(executable_, stream())); }

 private:
  std::shared_ptr<GraphPool> pool_;
  std::vector<std::shared_ptr<const void>> held_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace

std::function<void()> record(const std::function<void()>& work) {
  check(!waits_for_launches(), "capture", "GRADUS_CUDA_SYNC=1 waits for each kernel");
  return [graph = std::make_shared<Graph>(work)] { graph->launch(); };
}

bool recording() { return is_recording; }

void hold_in_graph(std::shared_ptr<const void> object) { held->push_back(std::move(object)); }

bool begin_beside(std::vector<std::shared_ptr<const Storage>> reads) {
  if (launch_lane() != Lane::main) return false;
  join_beside();
  GRADUS_CUDA_CHECK(order(Lane::main, Lane::side));
  branch = std::move(reads);
  launch_on(Lane::side);
  return true;
}

void end_beside() noexcept { launch_on(Lane::main); }

void join_beside() noexcept {
  if (!branch) return;
  order(Lane::side, Lane::main);  // where that fails, the capture ends with an error
  branch.reset();
  join_graph_memory();
}

bool recomputation_pays() { return false; }

}  // namespace gradus::cuda
