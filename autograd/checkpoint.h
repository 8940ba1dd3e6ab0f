// Activation checkpointing: less memory for more time. checkpoint keeps the inputs of a function
// and nothing inside it; recomputed keeps its inputs and what is inside, but not its value.
#pragma once

#include <functional>
#include <vector>

#include <gradus/autograd/variable.h>

namespace gradus {

/// A function of Variables that gives the same whenever it is called with the same. What it draws
/// from generators, on the calling thread, it draws a second time, too, wherever they are by then.
using CheckpointedFunction = std::function<Variable(const std::vector<Variable>& inputs)>;

/// function(inputs), with the same value and gradients to the bit, but until backward only the
/// inputs are kept: backward calls the function a second time for what is inside. Chen et al.,
/// "Training deep nets with sublinear memory cost", 2016.
///
/// Leaves that the function captures, as parameters, receive their gradients; any other Variable
/// that depends on a leaf must be an input (backward throws if its graph is needed elsewhere, too).
/// What it does besides computing its result, it must leave out while recomputing().
///
/// Backward throws Error if it draws otherwise the second time, gives another shape, or if a tensor
/// that its graph kept was changed in place in between.
Variable checkpoint(const CheckpointedFunction& function, const std::vector<Variable>& inputs);

/// function(inputs), with its graph; but an op that would keep the value for its backward keeps the
/// inputs instead, and calls the function again there. Throws as checkpoint does.
Variable recomputed(const CheckpointedFunction& function, const std::vector<Variable>& inputs);

/// Whether this thread is in the second call of a checkpointed function.
bool recomputing();

}  // namespace gradus
