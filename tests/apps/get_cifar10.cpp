// The download script, on small archives behind file:// addresses.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/command.h"
#include "tests/support/files.h"
#include "tests/support/temp_folder.h"

namespace {

namespace fs = std::filesystem;
using gradus::test::contains;
using gradus::test::TempFolder;

const std::string script = gradus::test::file_path("apps/vicreg/get_cifar10.sh");

struct Outcome {
  int status;
  std::string output;  // stdout and stderr
};

Outcome shell(const std::string& command) {
  std::FILE* pipe = ::popen(("( " + command + " ) 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  Outcome outcome{0, ""};
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    outcome.output.push_back(static_cast<char>(c));
  }
  const int status = ::pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

/// A folder with an archive.tar.gz of six small batch files (but `without`), and its checksum.
struct FakeArchive {
  explicit FakeArchive(const std::string& without = "") {
    const fs::path batches = folder.path() / "source" / "cifar-10-batches-bin";
    fs::create_directories(batches);
    for (const char* file : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                             "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"}) {
      if (file != without) std::ofstream(batches / file) << "batch " << file;
    }
    const std::string archive = (folder.path() / "archive.tar.gz").string();
    REQUIRE(shell(fmt::format("tar -C '{}' -czf '{}' cifar-10-batches-bin",
                              (folder.path() / "source").string(), archive))
                .status == 0);
    url = "file://" + archive;
    sha256 = shell(fmt::format("sha256sum '{}'", archive)).output.substr(0, 64);
  }

  Outcome fetch(const std::string& sum) const {
    return shell(
        fmt::format("'{}' '{}' --url '{}' --sha256 {}", script, destination().string(), url, sum));
  }
  fs::path destination() const { return folder.path() / "a folder" / "data"; }
  fs::path batches() const { return destination() / "cifar-10-batches-bin"; }
  /// Nothing lies at the destination, not even a hidden temporary.
  bool nothing_left() const { return !fs::exists(destination()) || fs::is_empty(destination()); }

  TempFolder folder;
  std::string url;
  std::string sha256;
};

TEST_CASE("a good archive is unpacked, and reused the next time") {
  const FakeArchive archive;
  Outcome outcome = archive.fetch(archive.sha256);
  CAPTURE(outcome.output);
  REQUIRE(outcome.status == 0);
  CHECK(gradus::test::read_text(archive.batches() / "data_batch_5.bin") ==
        "batch data_batch_5.bin");
  CHECK(gradus::test::count_files(archive.destination()) == 1);

  fs::remove(archive.folder.path() / "archive.tar.gz");  // so a second download would fail
  outcome = archive.fetch(archive.sha256);
  CHECK(outcome.status == 0);
  CHECK(contains(outcome.output, "already there"));

  fs::remove(archive.batches() / "data_batch_2.bin");
  outcome = archive.fetch(archive.sha256);
  CHECK(outcome.status == 1);
  CHECK(contains(outcome.output, "has no data_batch_2.bin"));
}

TEST_CASE("a checksum mismatch ends with status 4 and leaves nothing") {
  const FakeArchive archive;
  const Outcome outcome = archive.fetch(std::string(64, '0'));
  CHECK(outcome.status == 4);
  CHECK(contains(outcome.output, "checksum mismatch"));
  CHECK(contains(outcome.output, archive.sha256));
  CHECK(archive.nothing_left());
}

TEST_CASE("a failed download ends with status 3, one line, and leaves nothing") {
  FakeArchive archive;
  archive.url += ".not-there";
  const Outcome outcome = archive.fetch(archive.sha256);
  CHECK(outcome.status == 3);
  CHECK(contains(outcome.output, "could not download " + archive.url));
  CHECK(std::count(outcome.output.begin(), outcome.output.end(), '\n') == 1);
  CHECK(archive.nothing_left());
}

TEST_CASE("Ctrl-C ends with status 130, which is no failed download, and leaves nothing") {
  const FakeArchive archive;
  const std::string pipe = (archive.folder.path() / "pipe").string();  // the download waits for it
  REQUIRE(shell(fmt::format("mkfifo '{}'", pipe)).status == 0);
  const Outcome outcome =
      shell(fmt::format("env --default-signal=INT timeout --preserve-status --signal INT "
                        "--kill-after 9 1 '{}' '{}' --url 'file://{}'",
                        script, archive.destination().string(), pipe));
  CHECK(outcome.status == 130);
  CHECK(archive.nothing_left());
}

TEST_CASE("an archive that is incomplete or no archive is refused and leaves nothing") {
  const FakeArchive incomplete("test_batch.bin");
  Outcome outcome = incomplete.fetch(incomplete.sha256);
  CHECK(outcome.status == 1);
  CHECK(contains(outcome.output, "test_batch.bin"));
  CHECK(incomplete.nothing_left());

  FakeArchive garbage;
  const std::string file = (garbage.folder.path() / "archive.tar.gz").string();
  std::ofstream(file) << "this is no archive";
  outcome = garbage.fetch(shell(fmt::format("sha256sum '{}'", file)).output.substr(0, 64));
  CHECK(outcome.status == 1);
  CHECK(contains(outcome.output, "cannot unpack"));
  CHECK(garbage.nothing_left());
}

TEST_CASE("a full disk ends with status 5") {
  const FakeArchive archive;
  const fs::path mount = archive.folder.path() / "small";
  fs::create_directory(mount);
  const std::string in_tmpfs = fmt::format(
      "unshare --mount --map-root-user sh -c \"mount -t tmpfs -o size=16k tmpfs '{}' && {{}}\"",
      mount.string());
  if (shell(fmt::format(fmt::runtime(in_tmpfs), "true")).status != 0) {
    MESSAGE("skipped: this user may not mount a tmpfs");
    return;
  }
  // 1 MB that does not compress.
  const std::string file = (archive.folder.path() / "archive.tar.gz").string();
  REQUIRE(shell(fmt::format("head -c 1000000 /dev/urandom > '{}'", file)).status == 0);
  const Outcome outcome =
      shell(fmt::format(fmt::runtime(in_tmpfs),
                        fmt::format("'{}' '{}' --url '{}'; status=\\$?; ls -A '{}'; exit \\$status",
                                    script, mount.string(), archive.url, mount.string())));
  CHECK(outcome.status == 5);
  CHECK(contains(outcome.output, "disk full"));
  CHECK_FALSE(contains(outcome.output, ".cifar10-"));
}

TEST_CASE("wrong use is told") {
  for (const char* arguments : {"", "a b", "--url", "--what x", "x --sha256"}) {
    CAPTURE(arguments);
    const Outcome outcome = shell(fmt::format("'{}' {}", script, arguments));
    CHECK(outcome.status == 1);
    CHECK(contains(outcome.output, "usage: "));
  }
  const Outcome outcome = shell(fmt::format("'{}' /dev/null/folder", script));
  CHECK(outcome.status == 1);
  CHECK(contains(outcome.output, "cannot create /dev/null/folder"));
}

}  // namespace
