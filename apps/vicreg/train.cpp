// Pre-trains an encoder with VICReg: `train --help`.
#include "apps/vicreg/command_line.h"
#include "apps/vicreg/trainer.h"

int main(int argc, char** argv) {
  using namespace gradus::vicreg;
  return run_program("train", [&] {
    TrainOptions options;
    std::string config;
    if (!parse_train_options(argc, argv, options, config)) return 0;
    set_threads(options.threads);
    gradus::use_winograd(options.winograd);
    const gradus::Device device = choose_device(options.device, options.tf32);
    return Trainer(options, config, device).run();
  });
}
