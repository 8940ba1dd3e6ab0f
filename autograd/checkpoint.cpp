#include <gradus/autograd/checkpoint.h>

#include <algorithm>
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

/// A function and its inputs, to be called now and again in backward.
class RepeatedCall {
 public:
  RepeatedCall(CheckpointedFunction function, const std::vector<Variable>& inputs)
      : function_(std::move(function)) {
    for (const Variable& input : inputs) {
      inputs_.emplace_back(input);
      need_gradients_.push_back(input.requires_grad());
    }
  }

  /// Variables of the inputs' values: leaves where the inputs need gradients, so that the graph of
  /// a call with them ends there.
  std::vector<Variable> leaves() const {
    std::vector<Variable> leaves;
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      leaves.emplace_back(inputs_[i].get(), need_gradients_[i]);
    return leaves;
  }

  Variable first(const std::vector<Variable>& inputs) {
    const ReadNotes notes;
    const RecordDraws record;
    Variable result = function_(inputs);
    shape_ = result.shape();
    draws_ = record.draws();
    read_ = notes.remaining(result.value());
    return result;
  }

  Variable second(const std::vector<Variable>& inputs) const {
    check_unchanged(read_);
    const SecondCall second_call(draws_);
    Variable result = function_(inputs);
    second_call.check_complete();
    check(result.shape() == shape_, "checkpoint",
          "the function gave another result the second time: shape {} after {}", result.shape(),
          shape_);
    check(result.requires_grad(), "checkpoint",
          "the second time the function's result depends on nothing that requires a gradient");
    return result;
  }

 private:
  CheckpointedFunction function_;
  std::vector<SavedTensor> inputs_;
  std::vector<bool> need_gradients_;
  // What a second call must find as the first one did:
  Shape shape_;
  std::vector<Draw> draws_;
  std::vector<ReadNote> read_;  ///< memory, but for the result's, that the function read
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

}  // namespace

bool recomputing() { return recomputing_depth > 0; }

Variable checkpoint(const CheckpointedFunction& function, const std::vector<Variable>& inputs) {
  if (!grad_enabled()) return function(inputs);
  RepeatedCall call(function, inputs);
  Tensor value;
  std::vector<std::shared_ptr<Node>> captured;
  {
    // The graph is dropped; it only shows what needs gradients. The values are at hand:
    // call.leaves() would compute those again that are recomputed.
    std::vector<Variable> leaves;
    for (const Variable& input : inputs) leaves.emplace_back(input.value(), input.requires_grad());
    const Variable first = call.first(leaves);
    if (!first.requires_grad()) return first;
    value = first.value();
    captured = captured_leaves(first, leaves);
  }
  auto backward = [call = std::move(call), captured = captured.size()](Tensor doutput) {
    const std::vector<Variable> inputs_again = call.leaves();
    call.second(inputs_again).backward(std::move(doutput));
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
      make_variable("checkpoint", std::move(value), node_inputs, std::move(backward));
  auto& nodes = result.node()->inputs;
  nodes.pop_back();
  nodes.insert(nodes.end(), captured.begin(), captured.end());
  return result;
}

Variable recomputed(const CheckpointedFunction& function, const std::vector<Variable>& inputs) {
  if (!grad_enabled()) return function(inputs);
  RepeatedCall call(function, inputs);
  Variable result = call.first(inputs);
  // A leaf, or an input that the function returned, is there anyway.
  const auto is_result = [&](const Variable& input) { return input.node() == result.node(); };
  if (result.requires_grad() && !result.node()->leaf && std::ranges::none_of(inputs, is_result))
    result.node()->recompute = std::make_shared<Recompute::element_type>(
        [call = std::move(call)] { return call.second(call.leaves()).value(); });
  return result;
}

}  // namespace gradus
