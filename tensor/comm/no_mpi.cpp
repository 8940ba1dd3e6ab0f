// In the place of mpi.cpp in a build without MPI.
#include <gradus/tensor/check.h>
#include "tensor/comm/launcher.h"

namespace gradus {

std::unique_ptr<Processes> launched_processes() {
  const int rank = launched_rank();
  if (rank > 0) std::exit(0);  // process 0 says why
  check(rank < 0, "processes",
        "this program was built without MPI, and each process that mpirun or srun starts would "
        "train alone; build it where CMake finds MPI (libopenmpi-dev), with -DGRADUS_MPI=ON");
  return nullptr;
}

}  // namespace gradus
