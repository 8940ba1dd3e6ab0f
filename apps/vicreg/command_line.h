// What the programs' command lines share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "apps/vicreg/options.h"

namespace gradus::vicreg {

/// A command line whose help, and whose resolved configuration, show each option's default. Of an
/// option that is given twice the last one holds.
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
/// So many epochs at most: their steps fit 64 bits.
inline constexpr std::int64_t most_epochs = std::int64_t{1} << 30;

/// Options that decide the encoder.
void add_architecture_options(CLI::App& app, ModelOptions& options, const std::string& group);

/// The value of an option on the raw command line ("--name value" or "--name=value"), "" without
/// it: for options that decide the defaults of others.
std::string raw_value(int argc, const char* const* argv, const std::string& name);

/// Parses; `config_file` (may be empty) is read first and the command line wins. Prints the help
/// and returns false when asked to. Throws Error with one line on a bad option or a bad file.
bool parse_command_line(CLI::App& app, int argc, const char* const* argv,
                        const std::string& config_file = "");

/// The value of a key of a TOML file's top level, "" if it is not there.
std::string config_value(const std::string& file, const std::string& key);

/// Runs a program's body and turns exceptions into one line on stderr: "train: error: ...". Exit
/// codes: the body's own, 1 for an Error, 3 for running out of memory.
int run_program(const char* name, const std::function<int()>& body);

}  // namespace gradus::vicreg
