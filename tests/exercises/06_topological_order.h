// A solution of exercise 06: the order of backward.
#pragma once

#include <vector>

inline std::vector<int> topological_order(const std::vector<std::vector<int>>& inputs, int result) {
  std::vector<int> order;
  std::vector<bool> visited(inputs.size());
  const auto visit = [&](const auto& self, int node) -> void {
    if (visited[static_cast<std::size_t>(node)]) return;
    visited[static_cast<std::size_t>(node)] = true;
    for (const int input : inputs[static_cast<std::size_t>(node)]) self(self, input);
    order.push_back(node);
  };
  visit(visit, result);
  return {order.rbegin(), order.rend()};
}
