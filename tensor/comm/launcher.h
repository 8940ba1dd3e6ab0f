// Whether a launcher of MPI jobs has started this process.
#pragma once

#include <algorithm>
#include <cstdlib>

#include <gradus/tensor/communicator.h>

namespace gradus {

/// By the variables that Open MPI, MPICH and their relatives, and Slurm's PMIx and PMI-2 set.
inline bool was_launched() {
  constexpr const char* names[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
  return std::any_of(std::begin(names), std::end(names),
                     [](const char* name) { return std::getenv(name) != nullptr; });
}

}  // namespace gradus
