#include "apps/vicreg/command_line.h"

#include <algorithm>
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

}  // namespace

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
  app.add_flag("--stem-bias", o.stem_bias, "A bias in the stem's convolution")->group(group);
  app.add_option("--fc-features", o.fc_features,
                 "Outputs of a linear layer at the encoder's end; 0: none")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 20))
      ->group(group);
}

bool parse_command_line(CLI::App& app, int argc, const char* const* argv,
                        const std::string& config_file) {
  app.option_defaults()->always_capture_default();
  app.get_formatter()->column_width(34);
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
    fail("options", "{} (--help lists the options)", one_line(error.what()));
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
    std::fprintf(stderr, "%s: error: out of memory; a smaller --batch-size needs less\n", name);
    return 3;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: error: %s\n", name, one_line(error.what()).c_str());
    return 1;
  }
}

}  // namespace gradus::vicreg
