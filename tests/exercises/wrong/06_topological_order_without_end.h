// Wrong: a node visits itself in the place of its input, again and again.
// The checker says: the program died
#pragma once

#include <vector>

inline std::vector<int> topological_order(const std::vector<std::vector<int>>& inputs, int result) {
  std::vector<int> order;
  const auto visit = [&](const auto& self, int node) -> void {
    for (const int input : inputs[static_cast<std::size_t>(node)]) self(self, node);
    order.push_back(node);
  };
  visit(visit, result);
  return {order.rbegin(), order.rend()};
}
