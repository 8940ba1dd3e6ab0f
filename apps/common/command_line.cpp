#include "common/command_line.h"

#include <cmath>

#include <gradus/tensor/check.h>
#include "common/completion.h"
#include "common/help.h"
#include "common/program.h"
#include "common/version.h"

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

/// A text that any option takes; `shown` stands in the help and tells the shell what to complete.
CLI::Validator any_text(const char* shown) {
  return CLI::Validator([](std::string&) { return std::string(); }, shown);
}

/// What a command line asks for.
enum class Request : std::uint8_t { run, help, answered };

/// Parses; sets all options, also where the help is asked for. Answers that are the same whatever
/// the options are printed here.
Request parse(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return Request::help;
  } catch (const CLI::CallForVersion& answer) {
    print_answer(answer.what());
    return Request::answered;
  } catch (const CLI::ParseError& error) {
    fail("options", "{} (--help lists the options)", one_line(error.what()));
  }
  // An empty value comes of "$FILE" where FILE is not set; taken as not given, it would ask for
  // something else.
  for (const CLI::Option* option : app.get_options())
    check(std::ranges::none_of(option->results(), &std::string::empty), "options",
          "{} is given an empty value", option->get_name());
  return Request::run;
}

/// The command line of such a program, with the defaults of a preset.
struct Configurable {
  Configurable(const ConfigurableProgram& program, const std::string& preset)
      : app(program.description, program.name) {
    program.add_options(app, preset);
    app.option_defaults()->group("Run");
    app.add_option("--config", file, "Read options from a TOML file; the command line wins")
        ->check(file_name())
        ->configurable(false);
    app.add_flag("--print-config", print_config,
                 "Print all options as they are after files and the command line, as TOML, and end")
        ->configurable(false);
  }

  CommandLine app;
  std::string file;
  bool print_config = false;
};

}  // namespace

CommandLine::CommandLine(const std::string& description, const std::string& name)
    : CLI::App(description, name) {
  option_defaults()  // of the options added from here on
      ->always_capture_default()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  formatter(std::make_shared<HelpFormatter>());
  const auto answer = [this](const char* option, const char* about,
                             std::string (*text)(const CLI::App&)) {
    add_flag_callback(
        option, [this, text] { throw CLI::CallForVersion(text(*this), 0); }, about)
        ->trigger_on_parse()
        ->configurable(false);
  };
  answer("--version", "Print the version and what this build can use, and end", version_text);
  answer(
      "--completion",
      "Print what makes bash and zsh complete these options, and end: eval \"$(... --completion)\"",
      completion_script);
}

CLI::Option* add_switch(CLI::App& app, const std::string& names, bool& value,
                        const std::string& description) {
  return app.add_flag(names, value, description)->default_str(value ? "true" : "false");
}

CLI::Validator finite() {
  return number_check("", "a finite number", [](double x) { return std::isfinite(x); });
}

CLI::Validator positive() {
  return number_check("> 0", "a finite number above 0",
                      [](double x) { return std::isfinite(x) && x > 0; });
}

CLI::Validator non_negative() {
  return number_check(">= 0", "a finite number of at least 0",
                      [](double x) { return std::isfinite(x) && x >= 0; });
}

CLI::Validator file_name() { return any_text("FILE"); }
CLI::Validator folder_name() { return any_text("FOLDER"); }

CLI::Validator list_check(std::size_t count, const CLI::Validator& each) {
  return CLI::Validator(
      [count, each](std::string& text) {
        std::vector<std::string> parts = CLI::detail::split(text, ',');
        if (text.ends_with(',')) return fmt::format("'{}' ends with a comma", text);
        if (count != 0 && parts.size() != count)
          return fmt::format("needs {} numbers, with a comma between; '{}' has {}",
                             count == 2 ? "two" : std::to_string(count), text, parts.size());
        for (std::string& part : parts)
          if (std::string error = each(part); !error.empty()) return error;
        return std::string();
      },
      "");
}

bool parse_command_line(CLI::App& app, int argc, const char* const* argv) {
  const Request request = parse(app, argc, argv);
  if (request == Request::help) print_answer(app.help());
  return request == Request::run;
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& body) {
  return run_program(app.get_name().c_str(), argv, [&] {
    if (parse_command_line(app, argc, argv)) body();
    return 0;
  });
}

bool parse_command_line(const ConfigurableProgram& program, int argc, const char* const* argv,
                        std::string* resolved) {
  // The file and the preset decide what the options start from, so that the command line is read
  // twice, by the same parser: once to find these two, then for good.
  Configurable first(program, "");
  if (parse(first.app, argc, argv) == Request::answered) return false;
  ConfigFile config;
  if (!first.file.empty()) {
    config = ConfigFile::read(first.file);
  } else if (program.default_config) {
    config = program.default_config();
  }
  const CLI::Option* preset = first.app.get_option("--" + program.preset);

  Configurable second(
      program, preset->count() > 0 ? preset->as<std::string>() : config.value(program.preset));
  config.apply(second.app);
  if (!parse_command_line(second.app, argc, argv)) return false;
  if (program.check_options) program.check_options();
  if (second.print_config) print_answer(to_toml(second.app));
  if (resolved) *resolved = to_toml(second.app);
  return !second.print_config;
}

}  // namespace gradus::apps
