// What the programs' command lines share.
#pragma once

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "common/choice.h"
#include "common/config_file.h"

namespace gradus::apps {

/// A command line whose help shows each option's default, and that also answers --version
/// (version.h) and --completion (completion.h). Of an option that is given twice the last one
/// holds.
class CommandLine : public CLI::App {
 public:
  CommandLine(const std::string& description, const std::string& name);
};

/// A flag with its default: "--name,!--no-name" sets `value` to true and to false.
CLI::Option* add_switch(CLI::App& app, const std::string& names, bool& value,
                        const std::string& description);

/// Numbers, not integers, that are finite, above 0, or at least 0. CLI11's own let "nan" and "inf"
/// through.
CLI::Validator finite();
CLI::Validator positive();
CLI::Validator non_negative();

/// The number that the whole text is; integers in decimal digits, whatever zeros they begin with.
/// (CLI11 takes 010 for 8, and an integer that is too large for the largest there is.)
template <class Number>
std::optional<Number> parse_number(const std::string& text) {
  Number number{};
  if constexpr (std::integral<Number>) {
    const char* end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || parsed != end) return std::nullopt;
  } else if (!CLI::detail::lexical_cast(text, number)) {
    return std::nullopt;
  }
  return number;
}

/// An integer from `least` to `most`. As a transform it writes the integer so that CLI11 reads it.
template <std::integral Number>
CLI::Validator integer(Number least, Number most = std::numeric_limits<Number>::max()) {
  const bool open = most == std::numeric_limits<Number>::max();
  return CLI::Validator(
      [=](std::string& text) {
        const auto number = parse_number<Number>(text);
        if (!number || *number < least || *number > most)
          return fmt::format("'{}' is not an integer {}", text,
                             open ? fmt::format("of at least {}", least)
                                  : fmt::format("from {} to {}", least, most));
        text = std::to_string(*number);
        return std::string();
      },
      open ? fmt::format(">= {}", least)
           : fmt::format("{} in [{} - {}]", CLI::detail::type_name<Number>(), least, most));
}

/// An option that is such an integer.
template <std::integral Number>
CLI::Option* add_integer(CLI::App& app, const std::string& name, Number& value,
                         const std::string& description, std::type_identity_t<Number> least,
                         std::type_identity_t<Number> most = std::numeric_limits<Number>::max()) {
  return app.add_option(name, value, description)->transform(integer<Number>(least, most));
}

/// An option that sets `value`, which holds its default; `about` stands before the list of choices
/// in the help.
template <class Value, std::size_t count>
CLI::Option* add_choice(CLI::App& app, const std::string& name, Value& value,
                        const Choices<Value, count>& choices, const std::string& about = "") {
  std::vector<std::string> names;
  for (const auto& choice : choices) names.emplace_back(choice.name);
  return app
      .add_option_function<std::string>(
          name,
          [&value, &choices](const std::string& given) { value = *find_choice(choices, given); },
          about + list_of(choices, true))
      ->check(CLI::IsMember(names))
      ->default_str(name_of(choices, value));
}

/// Names of files and folders: any text is taken, and the shell completes it.
CLI::Validator file_name();
CLI::Validator folder_name();

/// Takes "a,b,c": `count` numbers, or at least one where that is 0, each one that `each` accepts.
CLI::Validator list_check(std::size_t count, const CLI::Validator& each);
/// The numbers of such a text.
template <class Number>
std::vector<Number> parse_numbers(const std::string& text) {
  std::vector<Number> numbers;
  for (const std::string& part : CLI::detail::split(text, ',')) {
    const auto number = parse_number<Number>(part);
    if (!number) throw CLI::ConversionError("'" + part + "' is not a number");
    numbers.push_back(*number);
  }
  return numbers;
}

/// An option of numbers, "low,high", whose default is what they are.
template <class Number, std::size_t count>
CLI::Option* add_list(CLI::App& app, const std::string& name, std::array<Number, count>& numbers,
                      const std::string& description, const CLI::Validator& each) {
  return app
      .add_option_function<std::string>(
          name,
          [&numbers](const std::string& text) {
            std::copy_n(parse_numbers<Number>(text).begin(), count, numbers.begin());
          },
          description)
      ->check(list_check(count, each))
      ->type_name(fmt::format("{0},{0}", CLI::detail::type_name<Number>()))
      ->default_str(fmt::format("{}", fmt::join(numbers, ",")));
}

/// The same of any number of them.
template <class Number>
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<Number>& numbers,
                      const std::string& description, const CLI::Validator& each) {
  return app
      .add_option_function<std::string>(
          name, [&numbers](const std::string& text) { numbers = parse_numbers<Number>(text); },
          description)
      ->check(list_check(0, each))
      ->type_name(fmt::format("{},...", CLI::detail::type_name<Number>()))
      ->default_str(fmt::format("{}", fmt::join(numbers, ",")));
}

/// Parses. Where an answer is asked for (--help, --version, --completion) it is printed, and false
/// returned. Throws Error with one line on a bad option.
bool parse_command_line(CLI::App& app, int argc, const char* const* argv);

/// A whole program whose options are `app`'s: run_program (program.h), named as `app` is, of the
/// parsing and, unless an answer was asked for, `body`.
int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& body);

/// A program whose options a TOML file may hold, too, and one of whose options, the preset, decides
/// the defaults of the others.
struct ConfigurableProgram {
  std::string description, name;
  std::string preset;  ///< the name of that option, without dashes: "recipe"
  /// Adds the options to `app`. What they set is first given the defaults of the preset named; ""
  /// where none is, and any text that the option itself will then refuse.
  std::function<void(CLI::App& app, const std::string& preset)> add_options;
  /// What holds where --config names no file; called when the command line was read.
  std::function<ConfigFile()> default_config = nullptr;
  /// Throws Error where options do not go together.
  std::function<void()> check_options = nullptr;
};

/// Sets the options: the preset's defaults, then the file (--config), then the command line. The
/// preset itself is the command line's or else the file's. `resolved`, if given, receives all
/// options as TOML, which --print-config prints; a run from that file has the same ones. Where an
/// answer is asked for it is printed, and false returned. Throws Error with one line on a bad
/// option, or a bad file: then with its line number.
bool parse_command_line(const ConfigurableProgram& program, int argc, const char* const* argv,
                        std::string* resolved = nullptr);

}  // namespace gradus::apps
