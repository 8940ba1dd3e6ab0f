#include <gradus/autograd/checkpoint.h>

#include <unordered_set>
#include <utility>

#include <gradus/autograd/saved_tensor.h>
#include <gradus/tensor/check.h>
#include <gradus/tensor/draws.h>

namespace gradus {
namespace {

thread_local int recomputing_depth = 0;

/// While one is alive, draws are those of the first call, a graph is recorded, and recomputing() is
/// true.
class SecondCall {
 public:
  explicit SecondCall(const std::vector<Draw>& draws) : replay_(draws) { ++recomputing_depth; }
  ~SecondCall() { --recomputing_depth; }
  SecondCall(const SecondCall&) = delete;
  SecondCall& operator=(const SecondCall&) = delete;

  void check_complete() const { replay_.check_complete(); }

 private:
  ReplayDraws replay_;
  EnableGrad enable_grad_;
};

/// What a function is called with: leaves where the inputs need gradients, so that the graph that
/// it records ends there.
struct Leaves {
  std::vector<SavedTensor> values;
  std::vector<bool> need_gradients;

  explicit Leaves(const std::vector<Variable>& inputs) {
    for (const Variable& input : inputs) {
      values.emplace_back(input.value());
      need_gradients.push_back(input.requires_grad());
    }
  }

  std::vector<Variable> make() const {
    std::vector<Variable> leaves;
    for (std::size_t i = 0; i < values.size(); ++i) {
      leaves.emplace_back(values[i].get(), need_gradients[i]);
    }
    return leaves;
  }
};

/// The leaves that a function's result depends on, but for its inputs: those that it captured.
std::vector<std::shared_ptr<Node>> captured_leaves(const Variable& result,
                                                   const std::vector<Variable>& inputs) {
  std::unordered_set<const Node*> seen;
  for (const Variable& input : inputs) seen.insert(input.node().get());
  std::vector<std::shared_ptr<Node>> leaves, pending{result.node()};
  while (!pending.empty()) {
    const std::shared_ptr<Node> node = std::move(pending.back());
    pending.pop_back();
    if (!node || !seen.insert(node.get()).second) continue;
    if (node->leaf) leaves.push_back(node);
    pending.insert(pending.end(), node->inputs.begin(), node->inputs.end());
  }
  return leaves;
}

/// The function's result, and what a second call must find as the first one did.
struct FirstCall {
  Tensor value;
  bool needs_gradient = false;
  std::vector<std::shared_ptr<Node>> captured;
  std::vector<Draw> draws;
  std::vector<ReadNote> read;  ///< memory, besides the inputs, that the function read

  FirstCall(const CheckpointedFunction& function, const Leaves& leaves) {
    const ReadNotes notes;
    const RecordDraws record;
    {
      // The graph is dropped; it only shows what needs gradients.
      const std::vector<Variable> inputs = leaves.make();
      const Variable result = function(inputs);
      value = result.value();
      needs_gradient = result.requires_grad();
      captured = captured_leaves(result, inputs);
    }
    draws = record.draws();
    read = notes.remaining(value);
  }
};

}  // namespace

bool recomputing() { return recomputing_depth > 0; }

Variable checkpoint(const CheckpointedFunction& function, const std::vector<Variable>& inputs) {
  if (!grad_enabled()) return function(inputs);
  const Leaves leaves(inputs);
  FirstCall first(function, leaves);
  if (!first.needs_gradient) return Variable(first.value);
  auto backward = [function, leaves, captured = first.captured.size(), shape = first.value.shape(),
                   draws = std::move(first.draws), read = std::move(first.read)](Tensor doutput) {
    check_unchanged(read);
    const std::vector<Variable> inputs_again = leaves.make();
    Variable again;
    {
      const SecondCall second_call(draws);
      again = function(inputs_again);
      second_call.check_complete();
    }
    check(again.shape() == shape && again.requires_grad(), "checkpoint",
          "the function gave another result the second time: shape {} after {}", again.shape(),
          shape);
    again.backward(std::move(doutput));
    std::vector<Tensor> gradients(inputs_again.size() + captured);
    for (std::size_t i = 0; i < inputs_again.size(); ++i) {
      if (inputs_again[i].requires_grad()) gradients[i] = inputs_again[i].grad();
    }
    return gradients;
  };
  // One more input: the result has a node even if nothing but captured leaves needs gradients. They
  // take its place, so that the walk knows when their gradients are complete; it adds nothing.
  std::vector<Variable> node_inputs = inputs;
  node_inputs.emplace_back(empty({}), true);
  const Variable result =
      make_variable("checkpoint", std::move(first.value), node_inputs, std::move(backward));
  auto& nodes = result.node()->inputs;
  nodes.pop_back();
  nodes.insert(nodes.end(), first.captured.begin(), first.captured.end());
  return result;
}

}  // namespace gradus
