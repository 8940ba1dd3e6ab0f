#include "autograd/checkpoint.h"

#include <utility>

#include "tensor/check.h"

namespace gradus {
namespace {

thread_local int recomputing_depth = 0;

std::vector<std::uint64_t> positions_of(const std::vector<Generator*>& generators) {
  std::vector<std::uint64_t> positions;
  for (const Generator* generator : generators) positions.push_back(generator->position());
  return positions;
}

void set_positions(const std::vector<Generator*>& generators,
                   const std::vector<std::uint64_t>& positions) {
  for (std::size_t i = 0; i < generators.size(); ++i) {
    generators[i]->set_position(positions[i]);
  }
}

/// While one is alive, generators are where they were before the first call, a graph is recorded,
/// and recomputing() is true.
class SecondCall {
 public:
  SecondCall(const std::vector<Generator*>& generators, const std::vector<std::uint64_t>& positions)
      : generators_(generators), later_(positions_of(generators)) {
    set_positions(generators, positions);
    ++recomputing_depth;
  }
  ~SecondCall() {
    --recomputing_depth;
    set_positions(generators_, later_);
  }
  SecondCall(const SecondCall&) = delete;
  SecondCall& operator=(const SecondCall&) = delete;

 private:
  const std::vector<Generator*>& generators_;
  std::vector<std::uint64_t> later_;
  EnableGrad enable_grad_;
};

/// What a function is called with: leaves where the inputs need gradients, so that the graph that
/// it records ends there.
struct Leaves {
  std::vector<Tensor> values;
  std::vector<bool> need_gradients;

  explicit Leaves(const std::vector<Variable>& inputs) {
    for (const Variable& input : inputs) {
      values.push_back(input.value());
      need_gradients.push_back(input.requires_grad());
    }
  }

  std::vector<Variable> make() const {
    std::vector<Variable> leaves;
    for (std::size_t i = 0; i < values.size(); ++i) {
      leaves.emplace_back(values[i], need_gradients[i]);
    }
    return leaves;
  }
};

}  // namespace

bool recomputing() { return recomputing_depth > 0; }

Variable checkpoint(const CheckpointedFunction& function, const std::vector<Variable>& inputs,
                    const std::vector<Generator*>& generators) {
  if (!grad_enabled()) return function(inputs);
  const Leaves leaves(inputs);
  const std::vector<std::uint64_t> positions = positions_of(generators);
  // The graph of the first call is dropped; it only shows whether a gradient is needed.
  const Variable result = function(leaves.make());
  if (!result.requires_grad()) return result;
  auto backward = [=, shape = result.shape()](Tensor doutput) {
    const std::vector<Variable> inputs_again = leaves.make();
    Variable again;
    {
      const SecondCall second_call(generators, positions);
      again = function(inputs_again);
    }
    check(again.shape() == shape && again.requires_grad(), "checkpoint",
          "the function gave another result the second time: shape {} after {}", again.shape(),
          shape);
    again.backward(std::move(doutput));
    std::vector<Tensor> gradients(inputs_again.size() + 1);
    for (std::size_t i = 0; i < inputs_again.size(); ++i) {
      if (inputs_again[i].requires_grad()) gradients[i] = inputs_again[i].grad();
    }
    return gradients;
  };
  // One more input, which gets no gradient: the result has a node even if nothing but captured
  // parameters needs gradients.
  std::vector<Variable> node_inputs = inputs;
  node_inputs.emplace_back(empty({}), true);
  return make_variable("checkpoint", result.value(), node_inputs, std::move(backward));
}

}  // namespace gradus
