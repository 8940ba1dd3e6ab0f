// Pre-trains an encoder with VICReg: `train --help`.
#include "common/program.h"
#include "vicreg/trainer.h"

int main(int argc, char** argv) {
  using namespace gradus;
  return apps::run_program("train", argv, [&] {
    apps::ignore_closed_output();
    vicreg::TrainOptions options;
    std::string config;
    if (!vicreg::parse_train_options(argc, argv, options, config)) return 0;
    const Device device = apps::use(options.compute);
    vicreg::Trainer trainer(options, config, device);
    return options.dry_run ? trainer.dry_run() : trainer.run();
  });
}
