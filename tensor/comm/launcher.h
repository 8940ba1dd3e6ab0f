// Whether a launcher of MPI jobs has started this process.
#pragma once

#include <cstdlib>

#include <gradus/tensor/communicator.h>

namespace gradus {

/// The rank of this process in its job, by the variables that Open MPI, MPICH and their relatives,
/// and Slurm's PMIx and PMI-2 set; -1 where it was started alone.
inline int launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"})
    if (const char* rank = std::getenv(name)) return std::atoi(rank);
  return -1;
}

}  // namespace gradus
