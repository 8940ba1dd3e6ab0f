// The memory of a captured graph, and what else lives as long as it. Internal to tensor/cuda.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace gradus::cuda {

/// Blocks that the work of one graph allocates while it is captured, and reuses within itself. They
/// stay where they are as long as the graph, or a tensor from it, lives. Guarded by its callers.
class GraphPool {
 public:
  GraphPool() = default;
  ~GraphPool();
  GraphPool(const GraphPool&) = delete;
  GraphPool& operator=(const GraphPool&) = delete;

  void* allocate(std::size_t bytes);
  /// Takes a block back. With `until_join` it is not used again before join(): what a branch frees,
  /// other streams' work must not touch while the branch runs.
  void deallocate(void* block, std::size_t bytes, bool until_join);
  void join();

 private:
  std::map<std::size_t, std::vector<void*>> free_;  // by size
  std::vector<std::pair<void*, std::size_t>> until_join_;
  std::vector<void*> blocks_;
  std::size_t bytes_ = 0;  // of all blocks
};

/// Keeps an object as long as the graph that is being recorded.
void hold_in_graph(std::shared_ptr<const void> object);
/// From begin to end, allocations come from `pool`.
void begin_graph_memory(std::shared_ptr<GraphPool> pool);
void end_graph_memory();
/// The branch that ran beside other work has ended: what it has freed may be used again.
void join_graph_memory() noexcept;

}  // namespace gradus::cuda
