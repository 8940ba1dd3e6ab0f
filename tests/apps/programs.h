// The two programs, with settings so small that a run takes about a second.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <gradus/tensor/tensor.h>
#include "tests/support/command.h"
#include "tests/support/files.h"
#include "tests/support/temp_folder.h"

namespace gradus::test {

using Arguments = std::vector<std::string>;

inline Arguments operator+(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// Three steps an epoch on 24 synthetic images; the run folder is to follow.
inline const Arguments tiny{"--dataset",   "synthetic", "--limit",   "24",        "--batch-size",
                            "8",           "--width",   "4",         "--workers", "1",
                            "--projector", "16,16",     "--threads", "1"};

/// The program of that name; the one with the emulated GPU where the environment says so
/// (GRADUS_TEST_PROGRAMS=_emulated, as ctest sets it).
inline std::string program(const std::string& name) {
  const char* suffix = std::getenv("GRADUS_TEST_PROGRAMS");
  return file_path("apps/vicreg/" + name + (suffix ? suffix : ""));
}

inline CommandResult run_train(const Arguments& arguments, const CommandOptions& options = {}) {
  return run_command(program("train"), arguments, options);
}

/// `train` with the tiny settings, then `arguments`, in the run folder `out`.
inline CommandResult train_tiny(const std::filesystem::path& out, const Arguments& arguments,
                                const CommandOptions& options = {}) {
  return run_train(tiny + Arguments{"--out", out.string()} + arguments, options);
}

inline CommandResult run_linear_eval(const Arguments& arguments,
                                     const CommandOptions& options = {}) {
  return run_command(program("linear_eval"), arguments, options);
}

/// The bytes of a run's checkpoint; never empty.
inline std::string checkpoint_bytes(const std::filesystem::path& out) {
  const std::string bytes = read_text(out / "checkpoint.safetensors");
  REQUIRE(!bytes.empty());
  return bytes;
}

/// Trains with the tiny settings without a break, and returns the checkpoint's bytes.
inline std::string train_whole(const std::filesystem::path& out, const Arguments& arguments) {
  const CommandResult result = train_tiny(out, arguments);
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  return checkpoint_bytes(out);
}

/// The matrix [rows, F] of float32 in a file of linear_eval --features.
inline Tensor read_features(const std::filesystem::path& path) {
  const std::string bytes = read_text(path);
  const std::size_t header =
      10 + static_cast<unsigned char>(bytes.at(8)) +
      256 * static_cast<std::size_t>(static_cast<unsigned char>(bytes.at(9)));
  std::vector<float> values((bytes.size() - header) / sizeof(float));
  std::memcpy(values.data(), bytes.data() + header, values.size() * sizeof(float));
  const auto rows = std::atoll(bytes.c_str() + bytes.find("'shape': (") + 10);
  return from_vector(values, {rows, static_cast<std::int64_t>(values.size()) / rows});
}

/// Whether a step was recorded in the run folder.
inline bool has_steps(const std::filesystem::path& out) {
  return contains(read_text(out / "metrics.jsonl"), "\"step\"");
}

/// The program failed as it should: a code of its own, and one line on the error that holds each of
/// `parts`.
inline void check_refused(const CommandResult& result, const std::vector<std::string>& parts) {
  INFO("output: ", result.output);
  CHECK(result.exit_code == 1);
  std::vector<std::string> errors;
  for (const std::string& line : lines_of(result.output))
    if (contains(line, "error: ")) errors.push_back(line);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0] == lines_of(result.output).back());
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(contains(errors[0], part));
  }
}

}  // namespace gradus::test
