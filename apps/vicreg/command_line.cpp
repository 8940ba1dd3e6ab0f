#include "apps/vicreg/command_line.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <new>

#include "tensor/check.h"

namespace gradus::vicreg {
namespace {

/// An exception's text as one line.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

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

void add_architecture_options(CLI::App& app, ModelOptions& o, const std::string& group) {
  app.add_option("--arch", o.architecture, "resnet18 or resnet34")
      ->check(CLI::IsMember({"resnet18", "resnet34"}))
      ->group(group);
  app.add_option("--width", o.width,
                 "Channels of the first stage; the last has eight times as many")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{4096}))
      ->group(group);
  app.add_option("--stem", o.stem, "cifar (3x3, stride 1) or imagenet (7x7, stride 2, max-pool)")
      ->check(CLI::IsMember({"cifar", "imagenet"}))
      ->group(group);
  app.add_option("--stem-padding", o.stem_padding, "Padding of the cifar stem")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{2}))
      ->group(group);
  add_switch(app, "--stem-bias,!--no-stem-bias", o.stem_bias, "A bias in the stem's convolution")
      ->group(group);
  app.add_option("--fc-features", o.fc_features,
                 "Outputs of a linear layer at the encoder's end; 0: none")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 20))
      ->group(group);
}

std::string raw_value(int argc, const char* const* argv, const std::string& name) {
  std::string value;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == name && i + 1 < argc) value = argv[i + 1];
    if (argument.starts_with(name + "=")) value = argument.substr(name.size() + 1);
  }
  return value;
}

bool parse_command_line(CLI::App& app, int argc, const char* const* argv,
                        const std::string& config_file) {
  CLI::Option* config =
      app.set_config("--config", config_file,
                     "Read options from a TOML file; the command line wins", !config_file.empty());
  config->group("Run");
  app.allow_config_extras(CLI::config_extras_mode::error);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return false;
  } catch (const CLI::FileError& error) {
    fail("config", "{}: {}", config_file, one_line(error.what()));
  } catch (const CLI::ConfigError& error) {
    fail("config", "{}: unknown key or bad value: {}", config_file, one_line(error.what()));
  } catch (const CLI::ParseError& error) {
    fail("options", "{} ({}--help lists the options)", one_line(error.what()),
         config_file.empty() ? "" : fmt::format("given here or in {}; ", config_file));
  }
  return true;
}

std::string config_value(const std::string& file, const std::string& key) {
  std::ifstream stream(file);
  std::string line;
  while (std::getline(stream, line)) {
    const auto equals = line.find('=');
    if (equals == std::string::npos) continue;
    const auto trim = [](std::string text) {
      const auto first = text.find_first_not_of(" \t\"");
      const auto last = text.find_last_not_of(" \t\"\r");
      return first == std::string::npos ? std::string() : text.substr(first, last - first + 1);
    };
    if (trim(line.substr(0, equals)) == key) return trim(line.substr(equals + 1));
  }
  return "";
}

int run_program(const char* name, const std::function<int()>& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    std::fflush(stdout);  // what was printed before stands before the error, also in a file
    std::fprintf(stderr, "%s: error: out of memory; a smaller --batch-size needs less\n", name);
    return 3;
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "%s: error: %s\n", name, one_line(error.what()).c_str());
    return 1;
  }
}

}  // namespace gradus::vicreg
