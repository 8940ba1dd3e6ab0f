// What the programs' command lines share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "apps/vicreg/options.h"

namespace gradus::vicreg {

/// Options that decide the encoder.
void add_architecture_options(CLI::App& app, ModelOptions& options, const std::string& group);

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
