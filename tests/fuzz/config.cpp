// Any text is read into a program's options, or refused with an Error of one line; options that
// were read can be written and read again.
#include "common/config_file.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <gradus/tensor/check.h>
#include "common/command_line.h"
#include "tests/fuzz/require.h"

namespace {

using gradus::test::require;

/// An option of each type that the programs have.
struct Program {
  Program() : app("A program", "program") {
    app.add_option("--recipe", recipe, "Text")->check(CLI::IsMember({"default", "solo-learn"}));
    app.add_option("--out", out, "Any text");
    app.add_option("--lr", lr, "A number")->check(gradus::apps::positive());
    gradus::apps::add_integer(app, "--epochs", epochs, "An integer", 1, 1000);
    gradus::apps::add_integer(app, "--seed", seed, "An integer of 64 bits", 0);
    app.add_option("--projector", projector, "A list")->delimiter(',');
    gradus::apps::add_switch(app, "--shuffle,!--no-shuffle", shuffle, "A switch");
  }

  std::string recipe = "default", out = "run";
  double lr = 0.5;
  std::int64_t epochs = 3;
  std::uint64_t seed = 0;
  std::vector<std::int64_t> projector{8, 4};
  bool shuffle = true;
  gradus::apps::CommandLine app;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Program first, second;
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    gradus::apps::ConfigFile::parse(text, "file").apply(first.app);
  } catch (const gradus::Error& error) {
    require(error.message().starts_with("[config] file:"), "an error names the file");
    return 0;
  }
  const std::string resolved = to_toml(first.app);
  gradus::apps::ConfigFile::parse(resolved, "resolved").apply(second.app);
  require(to_toml(second.app) == resolved, "the same text");
  require(second.out == first.out && second.recipe == first.recipe, "the same strings");
  require(second.lr == first.lr && second.epochs == first.epochs && second.seed == first.seed,
          "the same numbers");
  require(second.projector == first.projector && second.shuffle == first.shuffle, "the same rest");
  return 0;
}
