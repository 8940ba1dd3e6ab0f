// Exercise 06: the order of backward.
//
// A computation is a graph: each node knows the nodes that it was made of (its inputs). Backward
// may run a node only when all nodes that use its value have run, for each of them adds a part to
// its gradient. Such an order is called topological. A depth-first walk finds it: visit a node's
// inputs before you append the node itself, never visit a node twice, and reverse the list at the
// end.
//
// Task: the nodes that `result` depends on, itself first, each once, each before its inputs. Nodes
// are numbers, in no particular order, and inputs[n] lists the inputs of node n.
//
// In the library: autograd/engine.cpp, which counts uses instead and so needs no recursion.
#pragma once

#include <vector>

inline std::vector<int> topological_order(const std::vector<std::vector<int>>& inputs, int result) {
  // TODO: a recursive lambda or a stack, a list of what was visited.
  return {};
}
