// Reverse mode: the graph is walked from the result to the leaves, each node once all gradients of
// its value have arrived, and is freed on the way.
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <gradus/autograd/variable.h>
#include <gradus/tensor/beside.h>
#include <gradus/tensor/ops.h>
#include <gradus/tensor/trace.h>

namespace gradus {
namespace {

/// The leaves' gradients from before a walk, which are put back unless it is kept. Those that a
/// walk within this one (a checkpoint's) adds to are among them.
class LeafGradients {
 public:
  LeafGradients() = default;
  ~LeafGradients() {
    if (kept_) return;
    for (auto& [node, gradient] : before_)
      if (const std::shared_ptr<Node> leaf = node.lock()) leaf->gradient = std::move(gradient);
  }
  LeafGradients(const LeafGradients&) = delete;
  LeafGradients& operator=(const LeafGradients&) = delete;

  void remember(const std::shared_ptr<Node>& leaf) { before_.try_emplace(leaf, leaf->gradient); }
  void keep() { kept_ = true; }

 private:
  std::map<std::weak_ptr<Node>, Tensor, std::owner_less<>> before_;
  bool kept_ = false;
};

/// Parameters' gradients may be computed beside the walk (Beside): at its end they are there.
struct JoinAtEnd {
  JoinAtEnd() = default;
  ~JoinAtEnd() { join_beside(); }
  JoinAtEnd(const JoinAtEnd&) = delete;
  JoinAtEnd& operator=(const JoinAtEnd&) = delete;
};

/// The gradient of a value, so far. A second term is kept beside the first where the node's
/// backward function adds them itself.
struct Gradient {
  Tensor sum, second;
};

/// Those of values that are still read by nodes to come.
using Gradients = std::unordered_map<const Node*, Gradient>;

/// How many nodes reachable from `root` read each node's value; `leaves` remembers the gradients of
/// the leaves among them. Depth first, without recursion. Throws if a part of the graph was freed,
/// before anything is changed.
std::unordered_map<Node*, int> count_uses(const std::shared_ptr<Node>& root,
                                          LeafGradients& leaves) {
  std::unordered_map<Node*, int> uses{{root.get(), 0}};
  if (root->leaf) leaves.remember(root);
  std::vector<Node*> stack{root.get()};
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
      if (!is_new) continue;
      stack.push_back(input.get());
      if (input->leaf) leaves.remember(input);
    }
  }
  return uses;
}

/// sum += gradient. A tensor that others hold too is never changed in place.
void add_to(Tensor& sum, const Tensor& gradient) {
  if (sum.unique()) {
    add_scaled(sum, gradient);
  } else {
    sum = add(sum, gradient);
  }
}

/// Adds a gradient of a node's value to those before it: a leaf's stay with it.
void accumulate(Node& node, Gradients& gradients, Tensor gradient) {
  const auto [dtype, device] = node.options;
  check(gradient.dtype() == dtype && gradient.device() == device, node.name,
        "its gradient must be {} on {}; got {} on {}", name(dtype), name(device),
        name(gradient.dtype()), name(gradient.device()));
  check(broadcast_shapes(node.name, node.shape, gradient.shape()) == gradient.shape(), node.name,
        "its gradient has shape {}, which does not sum to the value's shape {}", gradient.shape(),
        node.shape);
  gradient = sum_to(gradient, node.shape);
  if (node.leaf) {
    if (node.gradient.defined()) {
      join_beside();  // either may be computed beside
      return add_to(node.gradient, gradient);
    }
    node.gradient = gradient.unique() ? std::move(gradient) : gradient.clone();
    return;
  }
  auto& [sum, second] = gradients[&node];
  if (!sum.defined()) {
    sum = std::move(gradient);
  } else if (node.backward_of_two && !second.defined()) {
    second = std::move(gradient);
  } else {
    add_to(sum, gradient);
  }
}

/// Runs one node's backward function and hands its results to the inputs.
void propagate(Node& node, Gradients& gradients) {
  auto own = gradients.extract(&node);
  // No gradient: all uses of the value were on paths that ended in undefined gradients.
  if (own.empty()) return;
  check(!node.freed, "backward",
        "a backward within this one freed the graph (at {}): what a checkpointed function takes "
        "from outside must be an input of it",
        node.name);
  const TraceInterval interval("backward", node.name);
  auto& [sum, second] = own.mapped();
  std::vector<Tensor> of_inputs = node.backward_of_two
                                      ? node.backward_of_two(std::move(sum), std::move(second))
                                      : node.backward(std::move(sum));
  check(of_inputs.size() == node.inputs.size(), node.name,
        "its backward function gave {} gradients for {} inputs", of_inputs.size(),
        node.inputs.size());
  for (std::size_t i = 0; i < of_inputs.size(); ++i) {
    if (!node.inputs[i] || !of_inputs[i].defined()) continue;
    accumulate(*node.inputs[i], gradients, std::move(of_inputs[i]));
  }
}

}  // namespace

void Variable::backward(Tensor doutput, bool retain_graph,
                        const LeafFunction& when_complete) const {
  check(node_ != nullptr, "backward",
        "the value does not depend on anything that requires a gradient");
  if (!doutput.defined()) {
    check(numel() == 1, "backward", "a value of shape {} needs the gradient of its elements",
          shape());
    doutput = ones(shape(), options_of(value_));
  }
  check_like_value("backward", doutput);
  const TraceInterval interval("step", "backward");
  const NoGrad no_grad;
  LeafGradients leaves;
  const JoinAtEnd join;
  std::unordered_map<Node*, int> uses = count_uses(node_, leaves);
  Gradients gradients;
  accumulate(*node_, gradients, std::move(doutput));
  std::vector<std::shared_ptr<Node>> ready;
  const auto complete = [&](const std::shared_ptr<Node>& node) {
    if (!node->leaf) return ready.push_back(node);
    if (!when_complete) return;
    join_beside();
    when_complete(node);
  };
  complete(node_);
  while (!ready.empty()) {
    const std::shared_ptr<Node> node = std::move(ready.back());
    ready.pop_back();
    propagate(*node, gradients);
    for (auto& input : node->inputs)
      if (input && --uses[input.get()] == 0) complete(input);
    if (!retain_graph) {
      node->release();
      node->inputs.clear();
      node->freed = true;
    }
  }
  leaves.keep();
}

}  // namespace gradus
