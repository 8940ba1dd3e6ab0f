#include <set>
#include "check.h"

GRADUS_EXERCISE {
  const auto check = [](const std::vector<std::vector<int>>& inputs, int result,
                        const std::set<int>& reachable, const std::string& hint) {
    const std::vector<int> order = topological_order(inputs, result);
    expect(!order.empty() && order[0] == result, "the result is not the first node",
           "backward begins at the result");
    expect(std::set<int>(order.begin(), order.end()) == reachable,
           fmt::format("the order does not have the {} nodes that node {} depends on",
                       reachable.size(), result),
           "go from the result to its inputs, and to theirs");
    std::set<int> done;
    for (const int node : order) {
      expect(done.insert(node).second, fmt::format("node {} comes twice", node), hint);
      for (const int input : inputs[static_cast<std::size_t>(node)])
        expect(!done.contains(input), fmt::format("node {} comes after its input {}", node, input),
               hint);
    }
  };
  check({{}, {0}, {1}}, 2, {0, 1, 2}, "a chain runs backwards");
  check({{}, {0}, {0}, {1, 2}}, 3, {0, 1, 2, 3}, "node 0 is used twice, but comes once: last");
  check(
      {{}, {0}, {1, 0}, {2, 0, 1}, {3}}, 3, {0, 1, 2, 3},
      "an input may be reached by a short way and a long one: append a node after its inputs, and "
      "reverse the list");
  check({{}, {2}, {0}, {1}}, 3, {0, 1, 2, 3},
        "the only order is 3, 1, 2, 0: which node is made of which does not follow from their "
        "numbers");
}
