// Wrong: a node is appended before its inputs are visited, and the list is not reversed.
// The checker says: node 2 comes after its input 0
#pragma once

#include <vector>

inline std::vector<int> topological_order(const std::vector<std::vector<int>>& inputs, int result) {
  std::vector<int> order;
  std::vector<bool> visited(inputs.size());
  const auto visit = [&](const auto& self, int node) -> void {
    if (visited[static_cast<std::size_t>(node)]) return;
    visited[static_cast<std::size_t>(node)] = true;
    order.push_back(node);
    for (const int input : inputs[static_cast<std::size_t>(node)]) self(self, input);
  };
  visit(visit, result);
  return order;
}
