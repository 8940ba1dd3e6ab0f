// In the place of mpi.cpp in a build without MPI.
#include <gradus/tensor/check.h>
#include "tensor/comm/launcher.h"

namespace gradus {

std::unique_ptr<Processes> launched_processes() {
  check(!was_launched(), "processes",
        "this program was built without MPI, and each process that mpirun or srun starts would "
        "train alone; build it where CMake finds MPI (libopenmpi-dev), with -DGRADUS_MPI=ON");
  return nullptr;
}

}  // namespace gradus
