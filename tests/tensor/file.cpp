#include <gradus/tensor/io/file.h>

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>
#include <vector>

#include <gradus/tensor/check.h>
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_folder.h"

using namespace gradus;
using namespace gradus::test;

namespace {

/// No file may grow beyond `bytes` while this lives; a longer write fails with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &previous_) == 0);
    const rlimit limit{bytes, previous_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &previous_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit previous_{};
  void (*handler_)(int);
};

}  // namespace

TEST_SUITE_BEGIN("file" * test::cpu_only());

TEST_CASE("write_file_atomically creates and replaces files") {
  const TempFolder folder;
  const auto path = folder / "a.txt";
  write_file_atomically(path, "first, and longer");
  CHECK(read_text(path) == "first, and longer");
  write_file_atomically(path, "second");
  CHECK(read_text(path) == "second");
  write_file_atomically(path, "");
  CHECK(read_text(path).empty());
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("write_file_atomically shows the old file until the new one is whole") {
  const TempFolder folder;
  const auto path = folder / "a.txt";
  write_file_atomically(path, "old");
  write_file_atomically(path, [&](FileWriter& file) {
    file.write("ne");
    CHECK(read_text(path) == "old");
    file.write("w");
  });
  CHECK(read_text(path) == "new");
}

TEST_CASE("an exception of the writer passes through and leaves the old file") {
  const TempFolder folder;
  const auto path = folder / "a.txt";
  write_file_atomically(path, "old");
  const auto interrupted = [](FileWriter& file) {
    file.write("half");
    throw std::runtime_error("interrupted");
  };
  CHECK_THROWS_WITH(write_file_atomically(path, interrupted), "interrupted");
  CHECK(read_text(path) == "old");
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("what a killed process left behind does not stand in the way") {
  const TempFolder folder;
  write_text(folder / "a.txt.tmp", "half of a file, longer than the next one");
  write_file_atomically(folder / "a.txt", "whole");
  CHECK(read_text(folder / "a.txt") == "whole");
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("several writers of one file take turns") {
  const TempFolder folder;
  const auto path = folder / "a.txt";
  std::vector<std::string> errors(4);
  std::vector<std::thread> writers;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    writers.emplace_back([&, i] {
      const std::string contents(50'000 + i, static_cast<char>('a' + i));
      for (int k = 0; k < 20 && errors[i].empty(); ++k)
        errors[i] = error_of([&] { write_file_atomically(path, contents); });
    });
  }
  for (std::thread& writer : writers) writer.join();
  for (const std::string& error : errors) CHECK(error == "");
  const std::string last = read_text(path);
  REQUIRE(last.size() >= 50'000);
  CHECK(last == std::string(50'000 + static_cast<std::size_t>(last[0] - 'a'), last[0]));
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("a file over the size limit is an error and the previous one stays") {
  const TempFolder folder;
  const auto path = folder / "checkpoint";
  const std::string large(100'000, 'x');
  std::string first_error, second_error;
  {
    const FileSizeLimit limit(16'384);
    first_error = error_of([&] { write_file_atomically(path, large); });
    write_file_atomically(path, "small");
    second_error = error_of([&] { write_file_atomically(path, large); });
  }
  CHECK(first_error == "[save] cannot write " + path.string() +
                           ": File too large (needs 100 kB); no file was left behind");
  CHECK(second_error == "[save] cannot write " + path.string() +
                            ": File too large (needs 100 kB); the previous file is untouched");
  CHECK(read_text(path) == "small");
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("a full disk is an error and the previous file stays") {
  const TempFolder folder;
  const auto disk_folder = folder / "disk";
  const SmallDisk disk(disk_folder, "64k");
  if (!disk.mounted()) {
    MESSAGE("SKIPPED: cannot mount a small tmpfs: ", disk.reason());
    return;
  }
  const auto path = disk_folder / "checkpoint";
  write_file_atomically(path, std::string(20'000, 'a'));
  CHECK(error_of([&] { write_file_atomically(path, std::string(100'000, 'b')); }) ==
        "[save] cannot write " + path.string() +
            ": No space left on device (needs 100 kB); the previous file is untouched");
  CHECK(read_text(path) == std::string(20'000, 'a'));
  CHECK(count_files(disk_folder) == 1);
}

TEST_CASE("places that cannot be written are errors") {
  const TempFolder folder;
  const auto missing = folder / "nowhere" / "a.txt";
  CHECK(error_of([&] { write_file_atomically(missing, "x"); }) ==
        "[save] cannot write " + missing.string() +
            ": No such file or directory (needs 1 byte); no file was left behind");
  CHECK(error_of([&] { write_file_atomically(folder.path(), "x"); }) ==
        "[save] cannot write " + folder.path().string() + ": it exists and is not a regular file");
  CHECK(error_of([&] { write_file_atomically("/dev/null", "x"); }) ==
        "[save] cannot write /dev/null: it exists and is not a regular file");
}

TEST_CASE("a symbolic link is written through, unless it leads nowhere") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "far");
  write_text(folder / "far" / "x", "old");
  std::filesystem::create_symlink("far/x", folder / "link");
  write_file_atomically(folder / "link", "new");
  CHECK(read_text(folder / "far" / "x") == "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  std::filesystem::remove(folder / "far" / "x");
  write_file_atomically(folder / "link", "newer");
  CHECK(read_text(folder / "link") == "newer");
}

TEST_CASE("format_bytes") {
  CHECK(format_bytes(0) == "0 bytes");
  CHECK(format_bytes(1) == "1 byte");
  CHECK(format_bytes(999) == "999 bytes");
  CHECK(format_bytes(1'500) == "1.5 kB");
  CHECK(format_bytes(9'960) == "10 kB");
  CHECK(format_bytes(999'600) == "1.0 MB");
  CHECK(format_bytes(180'400'000) == "180 MB");
  CHECK(format_bytes(18'446'744'073'709'551'615ull) == "18 EB");
}

TEST_SUITE_END();
