// What the members of a group (tensor/communicator.h) settle before and while they train together.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include <gradus/tensor/communicator.h>
#include "vicreg/options.h"

namespace gradus::vicreg {

/// The largest of the members' numbers.
std::int64_t largest_of_members(Communicator& communicator, std::int64_t own);

/// Throws Error in member 0, with the first name under which another member's description of the
/// run has something else, unless all are the same.
void check_same(Communicator& communicator, const nlohmann::json& description);

/// What decides every bit that members compute, and so must be the same for all of them: the
/// options' identity (options.h), program, instructions, hashes of the data and of the model's
/// state, position.
nlohmann::json run_identity(const TrainOptions& options, Device device,
                            const data::Dataset& dataset, const nn::Module& model,
                            std::int64_t step);

}  // namespace gradus::vicreg
