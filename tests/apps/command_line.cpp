// What every program answers: --version, --help, --print-config, --completion.
#include <doctest/doctest.h>

#include "common/help.h"
#include "tests/apps/programs.h"

namespace {

using namespace gradus::test;

/// What the shell offers for the last of `words`, after it evaluated what `train --completion`
/// prints: through the function that `complete` was given.
std::string completed(const std::string& shell, const std::string& words) {
  const std::string script =
      "eval \"$(" + program("train") +
      " --completion)\" || exit 1\n[ -z \"$ZSH_VERSION\" ] || emulate sh\nCOMP_WORDS=(" + words +
      ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_train\necho \"${COMPREPLY[@]}\"\n";
  const CommandResult result = run_command("/usr/bin/env", {shell, "-c", script});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  return result.output;
}

}  // namespace

TEST_CASE("--version names the version, the commit and what computes") {
  for (const auto& [name, path] :
       {std::pair{"train", program("train")}, std::pair{"linear_eval", program("linear_eval")},
        std::pair{"step", file_path("apps/bench/step")}}) {
    const CommandResult result = run_command(path, {"--version"});
    INFO("output: ", result.output);
    CHECK(result.exit_code == 0);
    const std::vector<std::string> lines = lines_of(result.output);
    REQUIRE(lines.size() == 4);
    CHECK(lines[0].starts_with(std::string(name) + " 0."));
    CHECK(contains(lines[0], " (commit "));
    CHECK(lines[1].starts_with("compiler: "));
    CHECK(lines[2].starts_with("CPU: kernels for "));
    CHECK(lines[3].starts_with("GPU: "));
  }
  // Whatever else is asked for.
  CHECK(run_train({"--resume", "--version", "--config", "/nonexistent"}).exit_code == 0);
  CHECK(contains(
      run_command(program("train"), {"--version"}, {.environment = {"GRADUS_SIMD=generic"}}).output,
      "kernels for generic"));
}

TEST_CASE("--print-config prints a file that --config reads to the same, and runs nothing") {
  const TempFolder folder;
  const std::string file = folder / "run.toml";
  const Arguments options{"--recipe", "emp-ssl", "--out", folder / "run", "--steps", "3"};
  const CommandResult first = run_train(options + Arguments{"--print-config"});
  REQUIRE(first.exit_code == 0);
  CHECK(contains(first.output, "\nprojector=[4096, 4096, 1024]\n"));
  CHECK(contains(first.output, "\nsteps=3\n"));
  CHECK(first.output.starts_with("# "));
  write_text(file, first.output);
  CHECK(run_train({"--config", file, "--print-config"}).output == first.output);
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
  check_refused(run_train({"--print-config", "--schedule", "cosine", "--schedule", "vicreg",
                           "--epochs", "2"}),
                {"--warmup-epochs"});

  const CommandResult eval =
      run_linear_eval({"--print-config", "--protocol", "vicreg", "--no-linear", "--bf16"});
  REQUIRE(eval.exit_code == 0);
  CHECK(contains(eval.output, "\nlinear=false\n"));
  CHECK(contains(eval.output, "\nbf16=true\n"));
  write_text(file, eval.output);
  CHECK(run_linear_eval({"--config", file, "--print-config"}).output == eval.output);
}

TEST_CASE("an answer that cannot be written is an error, unless nobody reads it") {
  for (const std::string asked : {"--help", "--version", "--print-config", "--completion"}) {
    CAPTURE(asked);
    check_refused(run_command("/bin/sh", {"-c", program("train") + " " + asked + " >/dev/full"}),
                  {"cannot write to stdout: No space left on device"});
    CHECK(run_train({asked}, {.output_is_closed = true}).exit_code == 0);
  }
}

TEST_CASE("bash completes options, their values and files") {
  const auto bash = [](const std::string& words) { return completed("bash", words); };
  CHECK(bash("train --augm") == "--augment\n");
  CHECK(bash("train --augment solo") == "solo-learn\n");
  CHECK(bash("train --augment = solo") == "solo-learn\n");  // as bash splits --augment=solo
  CHECK(bash("train --augment =") == "vicreg solo-learn emp-ssl none\n");
  CHECK(bash("train --lr ''") == "\n");
  CHECK(bash("train --bf16 --print-c") == "--print-config\n");
  CHECK(bash("train --no-wino") == "--no-winograd\n");
  const TempFolder folder;
  std::filesystem::create_directory(folder / "a folder");
  write_text(folder / "a file", "");
  const std::string begin = (folder / "a").string();
  CHECK(bash("train --out '" + begin + " f'") == (folder / "a folder").string() + "\n");
  CHECK(contains(bash("train --config '" + begin + " f'"), (folder / "a file").string()));
  CHECK(contains(run_command("/usr/bin/env", {"bash", "-c",
                                              "eval \"$(" + program("train") +
                                                  " --completion)\"; complete -p train"})
                     .output,
                 "-F _train train"));
  CHECK(contains(run_linear_eval({"--completion"}).output, "-F _linear_eval linear_eval"));
}

TEST_CASE("zsh completes them too" * doctest::skip(!std::filesystem::exists("/usr/bin/zsh"))) {
  // zsh itself then picks what begins with the word.
  CHECK(contains(completed("zsh", "train --augment solo"), "solo-learn"));
  CHECK_FALSE(contains(completed("zsh", "train --augment solo"), "--augment"));
  CHECK(contains(completed("zsh", "train --augm"), "--augment "));
}

TEST_CASE("--help: groups, what options take, examples, files and exit codes in 100 columns") {
  for (const CommandResult& help : {run_train({"--help"}), run_linear_eval({"--help"})}) {
    CHECK(help.exit_code == 0);
    for (const char* part : {"\nRun:\n", "\nExamples:\n", "Files", "Exit codes:", "=false",
                             "--config FILE", "{auto,cpu,cuda}=auto", "INT in [0 - 4096]=0"})
      CHECK_MESSAGE(contains(help.output, part), part);
    CHECK_FALSE(contains(help.output, "{false}"));
    for (const std::string& line : lines_of(help.output)) CHECK_MESSAGE(line.size() <= 100, line);
  }
}

TEST_CASE("no program colours what it prints") {
  const TempFolder folder;
  const CommandResult result = train_tiny(folder / "run", {"--steps", "1"});
  REQUIRE(result.exit_code == 0);
  CHECK_FALSE(contains(result.output, "\x1b["));
}
