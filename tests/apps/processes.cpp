// Which GPU, and how many threads, each of several processes on a machine takes.
#include "common/processes.h"

#include <doctest/doctest.h>
#include <omp.h>
#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "tests/support/temp_folder.h"

namespace {

using namespace gradus;

/// One of several processes on the same machine.
class OneOf : public Processes {
 public:
  OneOf(int rank, int size) : Processes(rank, size) {}
  int local_rank() const override { return rank(); }
  int local_size() const override { return size(); }
  void exchange(Channel, int, std::span<const std::byte>, std::span<std::byte>) override {}
  void abort(int) override {}
};

const std::string unset = "(unset)";

std::string visible_gpus() {
  const char* listed = ::getenv("CUDA_VISIBLE_DEVICES");
  return listed == nullptr ? unset : listed;
}

void set_visible_gpus(const std::string& listed) {
  if (listed == unset)
    ::unsetenv("CUDA_VISIBLE_DEVICES");
  else
    ::setenv("CUDA_VISIBLE_DEVICES", listed.c_str(), 1);
}

/// The GPU that a process chooses of those listed, or else of `gpus`; the environment stays as it
/// was.
std::string chosen(int rank, int size, const std::string& listed, int gpus = 0) {
  const std::string before = visible_gpus();
  set_visible_gpus(listed);
  const OneOf process(rank, size);
  apps::choose_gpu(process, gpus);
  const std::string result = visible_gpus();
  set_visible_gpus(before);
  return result;
}

}  // namespace

TEST_CASE("GPUs are counted where the driver shows them") {
  const test::TempFolder machine;
  CHECK(apps::gpu_count(machine.path()) == 0);
  for (const char* name : {"null", "nvidia", "nvidia-uvm", "nvidiactl", "nvidia0", "nvidia12"})
    std::filesystem::create_directories(machine / "dev" / name);
  CHECK(apps::gpu_count(machine.path()) == 2);
  for (const char* bus : {"0000:01:00.0", "0000:02:00.0", "0000:03:00.0"})
    std::filesystem::create_directories(machine / "proc/driver/nvidia/gpus" / bus);
  CHECK(apps::gpu_count(machine.path()) == 3);
}

TEST_CASE("processes on one machine take a GPU each, of those that are listed") {
  for (int rank = 0; rank < 4; ++rank) {
    CHECK(chosen(rank, 4, unset) == std::to_string(rank));
    CHECK(chosen(rank, 4, unset, 8) == std::to_string(rank));
  }
  CHECK(chosen(0, 4, "7,3,10,GPU-5a") == "7");
  CHECK(chosen(1, 4, "7,3,10,GPU-5a") == "3");
  CHECK(chosen(2, 4, "7,3,10,GPU-5a") == "10");
  CHECK(chosen(3, 4, "7,3,10,GPU-5a") == "GPU-5a");
  CHECK(chosen(1, 2, "7,3,10,GPU-5a") == "3");
  CHECK(chosen(3, 4, "5") == "5");      // the launcher has chosen
  CHECK(chosen(1, 2, "") == "");        // none
  CHECK(chosen(0, 1, "5,6") == "5,6");  // alone on its machine
  CHECK(chosen(0, 1, unset, 4) == unset);
}

TEST_CASE("they take them by what the launcher says, before MPI begins") {
  const std::string before = visible_gpus();
  const auto chosen_by = [&](const char* rank_name, const char* size_name, const char* size) {
    ::setenv(rank_name, "2", 1);
    ::setenv(size_name, size, 1);
    set_visible_gpus(unset);
    apps::choose_gpu(4);
    const std::string result = visible_gpus();
    const OneOf process(2, 4);
    apps::choose_gpu(process, 4);  // changes nothing
    CHECK((result == unset || visible_gpus() == result));
    ::unsetenv(rank_name);
    ::unsetenv(size_name);
    set_visible_gpus(before);
    return result;
  };
  CHECK(chosen_by("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "4") == "2");
  CHECK(chosen_by("MPI_LOCALRANKID", "MPI_LOCALNRANKS", "4") == "2");
  CHECK(chosen_by("SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE", "4(x2)") == "2");
  CHECK(chosen_by("SLURM_LOCALID", "SLURM_OTHER", "4") == unset);  // of how many is not said
  CHECK(chosen_by("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "1") == unset);
}

TEST_CASE("where there are fewer GPUs than processes, neighbours share one") {
  const std::vector<std::string> two{"0", "0", "1", "1"}, of_list{"7", "7", "10", "10"};
  for (int rank = 0; rank < 4; ++rank) {
    CHECK(chosen(rank, 4, unset, 1) == "0");
    CHECK(chosen(rank, 4, unset, 2) == two[static_cast<std::size_t>(rank)]);
    CHECK(chosen(rank, 4, "7,10", 8) == of_list[static_cast<std::size_t>(rank)]);
  }
}

TEST_CASE("processes on one machine share its processors, unless they are bound to some") {
  CHECK(apps::threads_of_each(nullptr) == 0);
  const OneOf alone(0, 1), half(0, 2), many(5, 4096);
  CHECK(apps::threads_of_each(&alone) == 0);
  const int of_half = apps::threads_of_each(&half), of_many = apps::threads_of_each(&many);
  if (of_many == 0) {  // this test is bound itself
    CHECK(of_half == 0);
  } else {
    CHECK(of_half == std::max(1, omp_get_num_procs() / 2));
    CHECK(of_many == 1);
  }
}
