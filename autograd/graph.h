// The graph behind a value, as a picture.
#pragma once

#include <string>
#include <vector>

#include <gradus/autograd/parameter.h>
#include <gradus/autograd/variable.h>

namespace gradus {

/// The nodes that `result` was computed by, in Graphviz's language: `dot -Tsvg graph.dot >
/// graph.svg` draws it, inputs above what is made of them. An ellipse is an op with the shape of
/// its value and the memory of the tensors that its backward reads; a box is a leaf, under its name
/// where `names` has it (Module::parameters()). The title has the memory of all of them, each block
/// counted once: what one node keeps may be kept by another, or be a parameter. Constants have no
/// nodes. Throws Error if `result` has no graph, or backward has freed it.
std::string graph_dot(const Variable& result, const std::vector<NamedParameter>& names = {});

}  // namespace gradus
