// Wrong: the nodes are sorted by number, as if each had a larger one than its inputs.
// The checker says: node 1 comes after its input 2
#pragma once

#include <set>
#include <vector>

inline std::vector<int> topological_order(const std::vector<std::vector<int>>& inputs, int result) {
  std::set<int> reached;
  std::vector<int> to_visit{result};
  while (!to_visit.empty()) {
    const int node = to_visit.back();
    to_visit.pop_back();
    if (!reached.insert(node).second) continue;
    for (const int input : inputs[static_cast<std::size_t>(node)]) to_visit.push_back(input);
  }
  return {reached.rbegin(), reached.rend()};
}
