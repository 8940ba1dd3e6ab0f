// Members of processes of a job, two each, of which the one that the argument names throws while
// the sums of all are under way in the background.
#include <cstdlib>
#include <vector>

#include <gradus/tensor/check.h>
#include <gradus/tensor/communicator.h>
#include <gradus/tensor/ops.h>
#include "common/processes.h"
#include "common/program.h"

namespace {

using namespace gradus;

void work(Communicator& communicator, int failing) {
  for (int round = 0;; ++round) {
    std::vector<Tensor> x;
    std::vector<std::shared_future<void>> sums;
    for (int i = 0; i < 8; ++i) {
      x.push_back(full({1'000'000}, communicator.rank()));
      sums.push_back(communicator.start_all_reduce(x.back()));
      Tensor foreground = full({10}, 1);
      communicator.all_reduce(foreground);
      if (round == 3 && i == 5 && communicator.rank() == failing)
        fail("test", "member {} fails", failing);
    }
    for (const auto& sum : sums) sum.get();
  }
}

}  // namespace

int main(int, char** argv) {
  return apps::run_program("failing_member", argv, [&] {
    const auto processes = launched_processes();
    return apps::run_in_job("failing_member", processes.get(), [&] {
      run_members(2, processes.get(), [&](Communicator& all) { work(all, std::atoi(argv[1])); });
      return 0;
    });
  });
}
