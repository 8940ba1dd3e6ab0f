#include "common/command_line.h"

#include <cmath>

#include <gradus/tensor/check.h>
#include "common/config_file.h"
#include "common/program.h"

namespace gradus::apps {
namespace {

/// Refuses what is not a number, or not one that `accepts`; `shown` stands in the help.
CLI::Validator number_check(const char* shown, const char* wanted, bool (*accepts)(double)) {
  return CLI::Validator(
      [wanted, accepts](std::string& text) {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && accepts(value)) return std::string();
        return fmt::format("'{}' is not {}", text, wanted);
      },
      shown);
}

/// Parses; whether the help was asked for, after all options were set.
bool parse_and_look_for_help(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return true;
  } catch (const CLI::ParseError& error) {
    fail("options", "{} (--help lists the options)", one_line(error.what()));
  }
  return false;
}

/// The command line of such a program, with the defaults of a preset.
struct Configurable {
  Configurable(const ConfigurableProgram& program, const std::string& preset)
      : app(program.description, program.name) {
    program.add_options(app, preset);
    app.add_option("--config", file, "Read options from a TOML file; the command line wins")
        ->configurable(false)
        ->group("Run");
  }

  CommandLine app;
  std::string file;
};

}  // namespace

CommandLine::CommandLine(const std::string& description, const std::string& name)
    : CLI::App(description, name) {
  option_defaults()  // of the options added from here on
      ->always_capture_default()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  get_formatter()->column_width(34);
}

CLI::Option* add_switch(CLI::App& app, const std::string& names, bool& value,
                        const std::string& description) {
  return app.add_flag(names, value, description)->default_str(value ? "true" : "false");
}

CLI::Validator finite() {
  return number_check("", "a finite number", [](double x) { return std::isfinite(x); });
}

CLI::Validator positive() {
  return number_check("POSITIVE", "a finite number above 0",
                      [](double x) { return std::isfinite(x) && x > 0; });
}

CLI::Validator non_negative() {
  return number_check("NONNEGATIVE", "a finite number of at least 0",
                      [](double x) { return std::isfinite(x) && x >= 0; });
}

bool parse_command_line(CLI::App& app, int argc, const char* const* argv) {
  if (!parse_and_look_for_help(app, argc, argv)) return true;
  print("{}", app.help());
  return false;
}

bool parse_command_line(const ConfigurableProgram& program, int argc, const char* const* argv,
                        std::string* resolved) {
  // The file and the preset decide what the options start from, so that the command line is read
  // twice, by the same parser: once to find these two, then for good.
  Configurable first(program, "");
  parse_and_look_for_help(first.app, argc, argv);
  if (first.file.empty() && program.default_file) first.file = program.default_file();
  const ConfigFile config = first.file.empty() ? ConfigFile() : ConfigFile::read(first.file);
  const CLI::Option* preset = first.app.get_option("--" + program.preset);

  Configurable second(
      program, preset->count() > 0 ? preset->as<std::string>() : config.value(program.preset));
  config.apply(second.app);
  if (!parse_command_line(second.app, argc, argv)) return false;
  if (resolved) *resolved = to_toml(second.app);
  return true;
}

}  // namespace gradus::apps
