// Event files, byte by byte, and as the stock tensorboard package reads them where Python has it.
#include "vicreg/tensorboard.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include <gradus/autograd/variable.h>
#include <gradus/tensor/ops.h>
#include "tests/apps/programs.h"
#include "tests/support/errors.h"

namespace {

using namespace gradus;
using namespace gradus::test;
using vicreg::crc32c;
using vicreg::TensorBoard;
namespace fs = std::filesystem;

template <class Number>
Number number_at(const std::string& bytes, std::size_t at) {
  Number number;
  REQUIRE(at + sizeof number <= bytes.size());
  std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

std::vector<fs::path> event_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("events.out.tfevents."))
      files.push_back(entry);
  return files;
}

/// TFRecord's checksum, from its definition.
std::uint32_t masked(const std::string& bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/// The records of a file; checks lengths and checksums.
std::vector<std::string> records_of(const fs::path& path) {
  const std::string bytes = read_text(path);
  std::vector<std::string> records;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto length = number_at<std::uint64_t>(bytes, at);
    CHECK(number_at<std::uint32_t>(bytes, at + 8) == masked(bytes.substr(at, 8)));
    records.push_back(bytes.substr(at + 12, length));
    REQUIRE(records.back().size() == length);
    CHECK(number_at<std::uint32_t>(bytes, at + 12 + length) == masked(records.back()));
    at += 16 + length;
  }
  return records;
}

/// The fields of a protocol buffer message, those of one number in their order.
struct Message {
  explicit Message(const std::string& bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
      const std::uint64_t key = varint(bytes, at);
      const auto field = static_cast<int>(key >> 3);
      switch (key & 7) {
        case 0: integers[field].push_back(varint(bytes, at)); break;
        case 1:
          doubles[field].push_back(number_at<double>(bytes, at));
          at += 8;
          break;
        case 5:
          floats[field].push_back(number_at<float>(bytes, at));
          at += 4;
          break;
        default: {
          REQUIRE((key & 7) == 2);
          const std::uint64_t length = varint(bytes, at);
          texts[field].push_back(bytes.substr(at, length));
          at += length;
        }
      }
    }
  }

  static std::uint64_t varint(const std::string& bytes, std::size_t& at) {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      REQUIRE(at < bytes.size());
      const auto byte = static_cast<unsigned char>(bytes[at++]);
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  }

  std::map<int, std::vector<std::uint64_t>> integers;
  std::map<int, std::vector<double>> doubles;
  std::map<int, std::vector<float>> floats;
  std::map<int, std::vector<std::string>> texts;
};

}  // namespace

TEST_CASE("tensorboard: CRC-32C has the known values") {  // RFC 3720, B.4
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
}

TEST_CASE("tensorboard: records hold what was written") {
  const TempFolder folder;
  TensorBoard board(folder.path(), 0);
  board.write({{"step", 300}, {"epoch", 2}, {"loss", 1.5}, {"bad", nullptr}});
  Variable weight(from_vector<float>({-1, 0, 0.5, 1, INFINITY, NAN}, {6}), true);
  weight.set_grad(full({6}, 2));
  board.write({{"conv", &weight}}, 301);
  std::string png("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\2\0\0\0\7", 24);
  png += "the rest";
  board.write_image("views", png, 302);
  CHECK(contains(error_of([&] { board.write_image("views", "GIF", 1); }), "views is no PNG"));

  REQUIRE(event_files(folder.path()).size() == 1);
  const std::vector<std::string> records = records_of(event_files(folder.path())[0]);
  REQUIRE(records.size() == 4);
  CHECK(Message(records[0]).texts[3] == std::vector<std::string>{"brain.Event:2"});
  CHECK(Message(records[0]).doubles[1].at(0) > 1.6e9);  // the time

  Message scalars(records[1]);
  CHECK(scalars.integers[2] == std::vector<std::uint64_t>{300});
  Message summary(scalars.texts[5].at(0));
  REQUIRE(summary.texts[1].size() == 2);
  Message epoch(summary.texts[1][0]), loss(summary.texts[1][1]);
  CHECK(epoch.texts[1].at(0) == "epoch");
  CHECK(epoch.floats[2].at(0) == 2);
  CHECK(loss.texts[1].at(0) == "loss");
  CHECK(loss.floats[2].at(0) == 1.5f);

  Message histograms(Message(records[2]).texts[5].at(0));
  REQUIRE(histograms.texts[1].size() == 2);
  Message weights(histograms.texts[1][0]), gradients(histograms.texts[1][1]);
  CHECK(weights.texts[1].at(0) == "weights/conv");
  Message histogram(weights.texts[5].at(0));
  CHECK(histogram.doubles[1].at(0) == -1);
  CHECK(histogram.doubles[2].at(0) == 1);
  CHECK(histogram.doubles[3].at(0) == 4);     // the finite ones
  CHECK(histogram.doubles[4].at(0) == 0.5);   // their sum
  CHECK(histogram.doubles[5].at(0) == 2.25);  // and that of their squares
  const std::string& limits = histogram.texts[6].at(0);
  const std::string& counts = histogram.texts[7].at(0);
  REQUIRE(limits.size() == counts.size());
  double least = -INFINITY, all = 0;
  for (std::size_t at = 0; at < limits.size(); at += 8) {
    const auto limit = number_at<double>(limits, at), count = number_at<double>(counts, at);
    CHECK(limit > least);
    double within = 0;  // of the values
    for (const double value : {-1.0, 0.0, 0.5, 1.0})
      within += value >= (std::isinf(least) ? -1 : least) &&
                (value < limit || (value == 1 && at + 8 == limits.size()));
    CHECK(count == within);
    least = limit;
    all += count;
  }
  CHECK(all == 4);
  CHECK(least == 1);
  CHECK(gradients.texts[1].at(0) == "gradients/conv");
  CHECK(Message(gradients.texts[5].at(0)).doubles[4].at(0) == 12);

  Message value(Message(Message(records[3]).texts[5].at(0)).texts[1].at(0));
  CHECK(value.texts[1].at(0) == "views");
  Message image(value.texts[4].at(0));
  CHECK(image.integers[1].at(0) == 7);      // height
  CHECK(image.integers[2].at(0) == 0x102);  // width
  CHECK(image.texts[4].at(0) == png);
}

TEST_CASE("tensorboard: a resumed run adds a file that takes later steps back; a new one clears") {
  const TempFolder folder;
  write_text(folder / "events.out.tfevents.1.old", "");
  write_text(folder / "events.txt", "kept");
  const auto resumed_file = [&](std::int64_t step) {
    const TensorBoard board(folder.path(), step);
    for (const fs::path& path : event_files(folder.path()))
      if (path.filename() != "events.out.tfevents.1.old") return records_of(path);
    return std::vector<std::string>{};
  };
  const auto records = resumed_file(12);
  CHECK(fs::exists(folder / "events.out.tfevents.1.old"));
  REQUIRE(records.size() == 2);
  Message start(records[1]);
  CHECK(start.integers[2].at(0) == 13);
  CHECK(Message(start.texts[7].at(0)).integers[1].at(0) == 1);  // START
  CHECK(resumed_file(0).size() == 1);
  CHECK(event_files(folder.path()).size() == 1);
  CHECK(fs::exists(folder / "events.txt"));
  CHECK(contains(error_of([&] { TensorBoard(folder / "none", 3); }), "cannot write"));
}

TEST_CASE("a resumed run keeps the events that it wrote before") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  REQUIRE(train_tiny(out, {"--steps", "2", "--tensorboard"}).exit_code == 0);
  REQUIRE(event_files(out).size() == 1);
  const fs::path first = event_files(out)[0];
  const std::string events = read_text(first);
  REQUIRE(train_tiny(out, {"--steps", "4", "--resume", "--tensorboard"}).exit_code == 0);
  CHECK(event_files(out).size() == 2);
  CHECK(read_text(first) == events);
}

TEST_CASE("a run with --tensorboard writes scalars, histograms and the views") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  const CommandResult result =
      train_tiny(out, {"--steps", "4", "--tensorboard", "--probe", "--test-limit", "10"});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  REQUIRE(event_files(out).size() == 1);
  std::map<std::string, int> tags;
  for (const std::string& record : records_of(event_files(out)[0])) {
    Message event(record);
    for (const std::string& text : event.texts[5]) {
      Message summary(text);
      for (const std::string& value : summary.texts[1]) ++tags[Message(value).texts[1].at(0)];
    }
  }
  CHECK(tags["loss"] == 4);
  CHECK(tags["variance"] == 4);
  CHECK(tags["lr"] == 4);
  CHECK(tags["images_per_second"] == 4);
  CHECK(tags["probe_train"] == 4);
  CHECK(tags["std_mean"] == 1);
  CHECK(tags["probe_test"] == 1);
  CHECK(tags["weights/encoder.conv1.weight"] == 1);
  CHECK(tags["gradients/encoder.conv1.weight"] == 1);
  CHECK(tags["views"] == 1);
  CHECK(tags["step"] == 0);

  // As TensorBoard itself reads it: optional, for it needs the package.
  const std::string script =
      "import sys\n"
      "try:\n"
      "  from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
      "except ImportError:\n"
      "  sys.exit(77)\n"
      "a = EventAccumulator(sys.argv[1]); a.Reload(); t = a.Tags()\n"
      "assert [e.step for e in a.Scalars('loss')] == [1, 2, 3, 4], a.Scalars('loss')\n"
      "assert a.Images('views')[0].width > 100 and a.Images('views')[0].step == 3\n"
      "h = a.Histograms('weights/encoder.conv1.weight')[0].histogram_value\n"
      "assert h.num == 108 and sum(h.bucket) == 108 and h.min < 0 < h.max, h\n"
      "print('read', len(t['scalars']), len(t['histograms']), len(t['images']))\n";
  const char* python = std::getenv("GRADUS_TENSORBOARD_PYTHON");
  const CommandResult read =
      run_command("/usr/bin/env", {python ? python : "python3", "-c", script, out.string()});
  INFO("output: ", read.output);
  CHECK((read.exit_code == 0 || (!python && read.exit_code == 77)));
}
