// What the programs' command lines share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace gradus::apps {

/// A command line whose help shows each option's default. Of an option that is given twice the last
/// one holds.
class CommandLine : public CLI::App {
 public:
  CommandLine(const std::string& description, const std::string& name);
};

/// A flag with its default: "--name,!--no-name" sets `value` to true and to false.
CLI::Option* add_switch(CLI::App& app, const std::string& names, bool& value,
                        const std::string& description);

/// Numbers that are finite, above 0, or at least 0. CLI11's own let "nan" and "inf" through.
CLI::Validator finite();
CLI::Validator positive();
CLI::Validator non_negative();

/// Parses. Prints the help and returns false when asked to. Throws Error with one line on a bad
/// option.
bool parse_command_line(CLI::App& app, int argc, const char* const* argv);

/// A program whose options a TOML file may hold, too, and one of whose options, the preset, decides
/// the defaults of the others.
struct ConfigurableProgram {
  std::string description, name;
  std::string preset;  ///< the name of that option, without dashes: "recipe"
  /// Adds the options to `app`. What they set is first given the defaults of the preset named; ""
  /// where none is, and any text that the option itself will then refuse.
  std::function<void(CLI::App& app, const std::string& preset)> add_options;
  /// The file to read where --config names none, "" for none; called when the command line was
  /// read.
  std::function<std::string()> default_file = nullptr;
};

/// Sets the options: the preset's defaults, then the file (--config), then the command line. The
/// preset itself is the command line's or else the file's. `resolved`, if given, receives all
/// options as TOML; a run from that file has the same ones. Prints the help and returns false when
/// asked to. Throws Error with one line on a bad option, or a bad file: then with its line number.
bool parse_command_line(const ConfigurableProgram& program, int argc, const char* const* argv,
                        std::string* resolved = nullptr);

}  // namespace gradus::apps
