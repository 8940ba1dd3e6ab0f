// Processes that add up what each of them has. Its argument is how many there must be.
#include <gradus/gradus.h>

#include <cstdlib>

int main(int, char** argv) {
  using namespace gradus;
  const int expected = std::atoi(argv[1]);
  const auto processes = launched_processes();
  bool right = false;
  run_members(1, processes.get(), [&](Communicator& communicator) {
    Tensor x = full({}, communicator.rank() + 1.0);
    communicator.all_reduce(x);
    right = communicator.size() == expected &&
            x.item<float>() == static_cast<float>(expected * (expected + 1) / 2);
  });
  return right ? 0 : 1;
}
