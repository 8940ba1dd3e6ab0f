// Reverse mode: the graph is walked from the result to the leaves, each node once all gradients of
// its value have arrived, and is freed on the way.
#include <unordered_map>
#include <utility>
#include <vector>

#include "autograd/variable.h"
#include "tensor/ops.h"

namespace gradus {
namespace {

/// How many nodes reachable from `root` read each node's value. Depth first, without recursion.
/// Throws if a part of the graph was freed, before anything is changed.
std::unordered_map<Node*, int> count_uses(Node* root) {
  std::unordered_map<Node*, int> uses{{root, 0}};
  std::vector<Node*> stack{root};
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    check(
        !node->freed, "backward",
        "the graph was freed by an earlier backward (at {}); compute the value again, or call the "
        "first backward with retain_graph",
        node->name);
    for (const auto& input : node->inputs) {
      if (!input) continue;
      const auto [entry, is_new] = uses.try_emplace(input.get(), 0);
      ++entry->second;
      if (is_new) stack.push_back(input.get());
    }
  }
  return uses;
}

/// Adds a gradient to a node's. A tensor that others hold too is never changed in place.
void accumulate(Node& node, Tensor gradient) {
  check(broadcast_shapes(node.name, node.shape, gradient.shape()) == gradient.shape(), node.name,
        "its gradient has shape {}, which does not sum to the value's shape {}", gradient.shape(),
        node.shape);
  gradient = sum_to(gradient, node.shape);
  if (!node.gradient.defined()) {
    // A leaf keeps its gradient, so it must own it.
    node.gradient = node.leaf && !gradient.unique() ? gradient.clone() : std::move(gradient);
  } else if (node.gradient.unique()) {
    add_scaled(node.gradient, gradient);
  } else {
    node.gradient = add(node.gradient, gradient);
  }
}

/// Runs one node's backward function and hands its results to the inputs. What the function saved
/// is released as soon as it has run.
void propagate(Node& node, bool retain_graph) {
  check(!node.freed, "backward",
        "a backward within this one freed the graph (at {}): what a checkpointed function takes "
        "from outside must be an input of it",
        node.name);
  std::vector<Tensor> gradients = node.backward(std::exchange(node.gradient, Tensor()));
  check(gradients.size() == node.inputs.size(), node.name,
        "its backward function gave {} gradients for {} inputs", gradients.size(),
        node.inputs.size());
  if (!retain_graph) node.backward = nullptr;
  for (std::size_t i = 0; i < gradients.size(); ++i)
    if (node.inputs[i] && gradients[i].defined())
      accumulate(*node.inputs[i], std::move(gradients[i]));
}

}  // namespace

void Variable::backward(Tensor doutput, bool retain_graph) const {
  check(node_ != nullptr, "backward",
        "the value does not depend on anything that requires a gradient");
  if (!doutput.defined()) {
    check(numel() == 1, "backward", "a value of shape {} needs the gradient of its elements",
          shape());
    doutput = ones(shape(), options_of(value_));
  }
  check(doutput.shape() == shape() && doutput.dtype() == dtype(), "backward",
        "the gradient must be {} of shape {}; got {} of shape {}", name(dtype()), shape(),
        name(doutput.dtype()), doutput.shape());
  const NoGrad no_grad;
  std::unordered_map<Node*, int> uses = count_uses(node_.get());
  accumulate(*node_, std::move(doutput));
  std::vector<std::shared_ptr<Node>> ready{node_};
  while (!ready.empty()) {
    const std::shared_ptr<Node> node = std::move(ready.back());
    ready.pop_back();
    if (node->leaf) continue;
    // No gradient: all uses of the value were on paths that ended in undefined gradients.
    if (node->gradient.defined()) propagate(*node, retain_graph);
    for (auto& input : node->inputs)
      if (input && --uses[input.get()] == 0) ready.push_back(input);
    if (!retain_graph) {
      node->backward = nullptr;
      node->inputs.clear();
      node->freed = true;
    }
  }
}

}  // namespace gradus
