// Collective operations of tensor/communicator.h on Variables, with gradients.
//
// What a group minimises is the sum of its members' losses, of which each calls backward on its own
// (or, with backward_of_mean, their mean). So the gradient of what one member gives to all is the
// sum over all of theirs.
#pragma once

#include <cstdint>

#include <gradus/autograd/variable.h>
#include <gradus/tensor/communicator.h>

namespace gradus {

/// What the members compute from the result that they share.
enum class Downstream : std::uint8_t {
  any,   ///< each its own: backward sums their gradients
  same,  ///< all the same, as a loss of the whole batch is: the gradients are equal, so backward
         ///< takes its own times the number of members (the same bits) and sends nothing
};

/// The sum of all members' x.
Variable all_reduce(const Variable& x, Communicator& communicator, Downstream downstream);
/// All members' x [...]: [size, ...]; backward takes the own slice of the gradients' sum.
Variable all_gather(const Variable& x, Communicator& communicator, Downstream downstream);

/// loss.backward(), of float32 or float64 leaves, after which the gradient of each is its average
/// over the members; they must have made their graphs alike. Gradients are sent while those of
/// other leaves are still computed, in buckets of a million elements or so. If a sum fails, leaves
/// whose gradients were under way have none.
void backward_of_mean(const Variable& loss, Communicator& communicator);

}  // namespace gradus
