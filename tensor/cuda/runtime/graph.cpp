#include "tensor/cuda/runtime/graph.h"

#include <atomic>

#include <gradus/tensor/check.h>
#include "tensor/cuda/runtime/graph_pool.h"
#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {
namespace {

std::atomic<bool> is_capturing = false;

}  // namespace

bool Graph::capturing() { return is_capturing; }

Graph::Graph(const std::function<void()>& work) : pool_(std::make_shared<GraphPool>()) {
  release_cached_memory();  // of the runs before: the graph's own pool needs as much again
  // Relaxed: the pool may ask the driver for memory while the stream is captured.
  GRADUS_CUDA_CHECK(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed));
  is_capturing = true;
  begin_graph_memory(pool_);
  cudaGraph_t graph = nullptr;
  const auto end_capture = [&] {
    const cudaError_t status = cudaStreamEndCapture(stream(), &graph);
    is_capturing = false;
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
  const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
  cudaGraphDestroy(graph);
  GRADUS_CUDA_CHECK(status);
}

Graph::~Graph() {
  if (!executable_) return;
  cudaStreamSynchronize(stream());
  cudaGraphExecDestroy(executable_);
}

void Graph::launch() { GRADUS_CUDA_CHECK(cudaGraphLaunch(executable_, stream())); }

}  // namespace gradus::cuda
