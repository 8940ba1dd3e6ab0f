// Configuration files: what TOML allows, what it does not, and which line is at fault.
#include "common/config_file.h"

#include <doctest/doctest.h>

#include <cstdint>

#include "common/command_line.h"
#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

namespace {

using namespace gradus::test;
using gradus::apps::ConfigFile;

/// A program with an option of each type.
struct Program {
  Program() : app("A program", "program") {
    app.add_option("--name", name, "Text");
    app.add_option("--rate", rate, "A number")->check(gradus::apps::positive());
    app.add_option("--count", count, "An integer");
    gradus::apps::add_integer(app, "--seed", seed, "An integer of 64 bits", 0);
    gradus::apps::add_list(app, "--widths", widths, "A list", gradus::apps::finite());
    gradus::apps::add_switch(app, "--shuffle,!--no-shuffle", shuffle, "A switch");
    app.add_flag("--once", once, "Not in files")->configurable(false);
  }

  void read(const std::string& text) { ConfigFile::parse(text, "file").apply(app); }

  std::string name = "none";
  double rate = 0.5;
  std::int64_t count = 3;
  std::uint64_t seed = 0;
  std::vector<std::int64_t> widths{8, 4};
  bool shuffle = true, once = false;
  gradus::apps::CommandLine app;
};

std::string error_in(const std::string& text) {
  Program program;
  return error_of([&] { program.read(text); });
}

}  // namespace

TEST_CASE("config: values of every type, as TOML writes them") {
  Program p;
  p.read(
      "\xef\xbb\xbf# begins with a byte-order mark\r\n"
      "name = 'single \"quotes\"'   # and a comment\r\n"
      "rate = 1_000.5\n"
      "  count=1_000 # thousands\n"
      "\n"
      "seed = 0x10\n"
      "widths = [\n  1_024,  # the first\n  512,\n]\n"
      "shuffle = false\n");
  CHECK(p.name == "single \"quotes\"");
  CHECK(p.rate == 1000.5);
  CHECK(p.count == 1000);
  CHECK(p.seed == 16);
  CHECK(p.widths == std::vector<std::int64_t>{1024, 512});
  CHECK_FALSE(p.shuffle);

  Program q;
  q.read(
      "\"name\" = \"a \\\"b\\\" \\\\ c#d\"\nrate = 2\nno-shuffle = true\nwidths = 7\n"
      "seed = \"18446744073709551615\"");
  CHECK(q.name == "a \"b\" \\ c#d");
  CHECK(q.rate == 2);
  CHECK_FALSE(q.shuffle);
  CHECK(q.widths == std::vector<std::int64_t>{7});
  CHECK(q.seed == UINT64_MAX);

  Program r;
  r.read("no-shuffle = false\nname = \"\"");
  CHECK(r.shuffle);
  CHECK(r.name.empty());
  CHECK(r.count == 3);  // not in the file: as it was
}

TEST_CASE("config: the command line wins over the file") {
  Program p;
  p.read("rate = 2\nwidths = [1, 2, 3]\nshuffle = false\nname = 'file'");
  const std::vector<const char*> argv{"program", "--rate=3", "--widths", "9", "--shuffle"};
  REQUIRE(parse_command_line(p.app, static_cast<int>(argv.size()), argv.data()));
  CHECK(p.rate == 3);
  CHECK(p.widths == std::vector<std::int64_t>{9});
  CHECK(p.shuffle);
  CHECK(p.name == "file");
}

TEST_CASE("config: what is wrong is refused with its line") {
  const auto refused = [](const std::string& text, int line, const std::string& part) {
    CAPTURE(text);
    const std::string error = error_in(text);
    CAPTURE(error);
    CHECK(error.starts_with("[config] file:" + std::to_string(line) + ": "));
    CHECK(contains(error, part));
    CHECK_FALSE(contains(error, "\n"));
  };
  refused("rate = 1\ncount = 2\nrate = 3\n", 3, "rate");  // twice
  refused("rate = 1\nno equals sign here\n", 2, "");
  refused("name = solo\n", 1, "");
  refused("name = \"not closed\nrate = 1\n", 1, "");
  refused("rate = 1 count = 2\n", 1, "");
  refused("widths = [1, x]\n", 1, "");
  refused("count = 007\n", 1, "");
  refused("# fine\nlearning-rate = 1\n", 2, "unknown key 'learning-rate'");
  refused("\n\nonce = true\n", 3, "'once' belongs on the command line");
  refused("help = true\n", 1, "'help' belongs on the command line");
  refused("help = \"\"\n", 1, "'help' belongs on the command line");
  refused("[section]\nrate = 1\n", 1, "'section' is a table");
  refused("a.b = 1\n", 1, "'a' is a table");
  refused("rate = 2026-01-01\n", 1, "date");
  refused("rate = 1\nrate.x = 1\n", 2, "");
  refused("rate = \"fast\"\n", 1, "'fast' is not a finite number above 0");
  refused("count = 1\nrate = -1\n", 2, "-1");
  refused("rate = nan\n", 1, "nan");
  refused("rate = inf\n", 1, "inf");
  refused("rate = [1, 2]\n", 1, "rate must be a single value");
  refused("count = 2.5\n", 1, "count");
  refused("count = 2.0\n", 1, "count");
  refused("count = true\n", 1, "count must be other than true or false");
  refused("name = 5\n", 1, "name must be a string");
  refused("name = ['a', 'b']\n", 1, "name must be a string");
  refused("shuffle = \"false\"\n", 1, "shuffle must be true or false");
  refused("shuffle = 0\n", 1, "shuffle must be true or false");
  refused("shuffle = true\nno-shuffle = true\n", 2, "line 1");
  refused("widths = []\n", 1, "empty list");
  refused("widths = [[1], [2]]\n", 1, "plain values");
  refused("widths = [1, \"x\"]\n", 1, "x");
  refused("count = 99999999999999999999\n", 1, "");
  refused(std::string("rate = 1\n\0\0\0", 12), 2, "zero byte");
  refused("name = \"\xff\xfe\"\n", 1, "");
  refused("rate = 1\n" + std::string(100'000, '['), 2, "");
}

TEST_CASE("config: a file that cannot be read") {
  const TempFolder folder;
  CHECK(error_of([&] { ConfigFile::read(folder / "none.toml"); }) ==
        "[config] cannot read " + (folder / "none.toml").string() + ": No such file or directory");
  CHECK(error_of([&] { ConfigFile::read(folder.path()); }) ==
        "[config] cannot read " + folder.path().string() + ": it is a folder");
  write_text(folder / "empty.toml", "");
  CHECK(ConfigFile::read(folder / "empty.toml").value("name").empty());
}

TEST_CASE("config: options written as TOML read back to the same values") {
  const std::vector<std::vector<const char*>> lines{
      {"program"},
      {"program", "--name", "a \"b\" 'c' \\ \t # d", "--rate", ".125", "--count", "010"},
      {"program", "--name", "123", "--rate", "1e300", "--seed", "18446744073709551615"},
      {"program", "--name", "\"\n'''''\n\x7f\t\"\"\"", "--rate", "7"},
      {"program", "--rate", "0.1234567890123456", "--widths", "5"},
      {"program", "--name", "\xc3\xa9\n[x]", "--rate", "5.", "--no-shuffle", "--once"},
  };
  for (const auto& argv : lines) {
    Program first, second;
    REQUIRE(parse_command_line(first.app, static_cast<int>(argv.size()), argv.data()));
    const std::string text = to_toml(first.app);
    CAPTURE(text);
    second.read(text);
    CHECK(second.name == first.name);
    CHECK(second.rate == first.rate);
    CHECK(second.count == first.count);
    CHECK(second.seed == first.seed);
    CHECK(second.widths == first.widths);
    CHECK(second.shuffle == first.shuffle);
    CHECK_FALSE(second.once);
    CHECK(to_toml(second.app) == text);
  }
}
