// CUDA graphs: work captured once and replayed with one call.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <memory>

namespace gradus::cuda {

class GraphPool;

/// The launches that a function makes, recorded instead of run. A replay does the same work on the
/// same addresses: tensors that live longer than the function (parameters, inputs, results) keep
/// theirs, and memory that the function allocates comes from a pool that the graph keeps.
class Graph {
 public:
  /// Records work(), which must not wait for the device or copy to or from the host. Throws Error
  /// if something in it cannot be captured; then nothing ran.
  explicit Graph(const std::function<void()>& work);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch();

  /// Whether this process is recording one.
  static bool capturing();

 private:
  std::shared_ptr<GraphPool> pool_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace gradus::cuda
