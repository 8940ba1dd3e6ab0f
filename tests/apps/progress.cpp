#include "vicreg/progress.h"

#include <doctest/doctest.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

using namespace gradus::vicreg;

namespace {

/// A stream whose text can be asked for.
class TextStream {
 public:
  TextStream() : stream_(::open_memstream(&text_, &size_)) {}
  ~TextStream() {
    std::fclose(stream_);
    ::free(text_);
  }
  TextStream(const TextStream&) = delete;
  TextStream& operator=(const TextStream&) = delete;

  std::FILE* get() const { return stream_; }
  std::string text() const {
    std::fflush(stream_);
    return {text_, size_};
  }

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* stream_;
};

/// What a terminal shows after `text`: carriage returns and "erase to the end of the line" done.
std::vector<std::string> screen(const std::string& text) {
  std::vector<std::string> lines{""};
  std::size_t column = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string& line = lines.back();
    if (text.compare(i, 3, "\x1b[K") == 0) {
      line.resize(std::min(column, line.size()));
      i += 2;
    } else if (text[i] == '\r') {
      column = 0;
    } else if (text[i] == '\n') {
      lines.emplace_back();
      column = 0;
    } else {
      if (column >= line.size()) line.resize(column + 1, ' ');
      line[column++] = text[i];
    }
  }
  return lines;
}

std::size_t count(const std::string& text, char c) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), c));
}

StepRecord report(std::int64_t step) {
  return {.step = step,
          .loss = {.total = 23.456, .invariance = 0.1234, .variance = 0.5678, .covariance = 1.2345},
          .images_per_second = 812.4};
}

struct Fixture {
  TextStream stream;
  double now = 100;
  int columns = 200;

  ProgressOptions options(bool is_terminal) {
    return {.total_steps = 1000,
            .steps_per_epoch = 195,
            .stream = stream.get(),
            .is_terminal = is_terminal,
            .columns = [this] { return columns; },
            .clock = [this] { return now; }};
  }
};

}  // namespace

TEST_CASE("progress: the bar says everything where there is room") {
  Fixture f;
  Progress progress(f.options(true));
  f.now += 50;
  progress.update(report(500));
  const std::string line = screen(f.stream.text()).back();
  CHECK(line.starts_with("[==================="));
  CHECK(line.ends_with(
      "]  epoch 3/6  step 500/1000  loss 23.46  inv 0.123  var 0.568  cov 1.23  812 images/s  "
      "ETA 0:50"));
}

TEST_CASE("progress: the epoch changes with its first step") {
  Fixture f;
  Progress progress(f.options(false));
  progress.update(report(195));
  f.now += 11;
  progress.update(report(196));
  CHECK(f.stream.text().find("epoch 1/6  step 195/1000") != std::string::npos);
  CHECK(f.stream.text().find("epoch 2/6  step 196/1000") != std::string::npos);
}

TEST_CASE("progress: no width makes the bar wrap, and more width shows more") {
  std::size_t previous = 0;
  for (int columns = 1; columns <= 200; ++columns) {
    Fixture f;
    f.columns = columns;
    Progress progress(f.options(true));
    progress.update(report(7));
    const std::vector<std::string> lines = screen(f.stream.text());
    INFO("columns ", columns);
    CHECK(lines.size() == 1);
    CHECK(lines.back().size() <= static_cast<std::size_t>(std::max(columns - 1, 1)));
    CHECK(lines.back().size() >= previous);
    previous = lines.back().size();
    if (columns >= 80) CHECK(lines.back().find("loss") != std::string::npos);
    if (columns >= 80) CHECK(lines.back().find("ETA") != std::string::npos);
  }
}

TEST_CASE("progress: the bar is redrawn at most ten times a second") {
  Fixture f;
  Progress progress(f.options(true));
  for (int step = 1; step <= 500; ++step) {
    f.now += 0.01;
    progress.update(report(step));
  }
  const std::size_t drawn = count(f.stream.text(), '\r');
  CHECK(drawn >= 40);
  CHECK(drawn <= 51);
  CHECK(count(f.stream.text(), '\n') == 0);
}

TEST_CASE("progress: the last step is shown whatever the time") {
  for (const bool is_terminal : {true, false}) {
    Fixture f;
    Progress progress(f.options(is_terminal));
    progress.update(report(1));
    progress.update(report(999));
    CHECK(f.stream.text().find("999/1000") == std::string::npos);
    progress.update(report(1000));
    CHECK(f.stream.text().find("1000/1000") != std::string::npos);
  }
}

TEST_CASE("progress: finish shows the last report once and ends the line") {
  Fixture f;
  {
    Progress progress(f.options(true));
    progress.update(report(1));
    progress.update(report(2));
    progress.finish();
    progress.finish();
  }
  const std::vector<std::string> lines = screen(f.stream.text());
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].find("step 2/1000") != std::string::npos);
  CHECK(lines[1].empty());
}

TEST_CASE("progress: an abandoned bar leaves a fresh line") {
  Fixture f;
  { Progress progress(f.options(true)); }
  CHECK(f.stream.text().empty());
  {
    Progress progress(f.options(true));
    progress.update(report(1));
  }
  CHECK(f.stream.text().back() == '\n');
}

TEST_CASE("progress: a message stands above the bar") {
  Fixture f;
  Progress progress(f.options(true));
  progress.message("before");
  progress.update(report(1));
  progress.message("warning");
  const std::vector<std::string> lines = screen(f.stream.text());
  REQUIRE(lines.size() == 3);
  CHECK(lines[0] == "before");
  CHECK(lines[1] == "warning");
  CHECK(lines[2].find("step 1/1000") != std::string::npos);
}

TEST_CASE("progress: plain lines come every ten seconds, without control characters") {
  Fixture f;
  Progress progress(f.options(false));
  for (int step = 1; step <= 100; ++step) {
    f.now += 0.25;
    progress.update(report(step));
  }
  progress.message("warning");
  const std::string text = f.stream.text();
  CHECK(count(text, '\n') == 4);  // after 0.25, 10.25 and 20.25 seconds, and the message
  CHECK(text.find('\r') == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.starts_with("epoch 1/6  step 1/1000  loss 23.46  inv 0.123"));
  CHECK(text.ends_with("\nwarning\n"));
}

TEST_CASE("progress: the ETA of a resumed run counts its own steps only") {
  Fixture f;
  ProgressOptions options = f.options(false);
  options.first_step = 900;
  Progress progress(options);
  f.now += 20;
  progress.update(report(910));
  CHECK(f.stream.text().find("  3 minutes left\n") != std::string::npos);
}

TEST_CASE("progress: numbers that are not finite, and no steps at all") {
  Fixture f;
  ProgressOptions options = f.options(true);
  options.total_steps = 0;
  options.steps_per_epoch = 0;
  Progress progress(options);
  progress.update({.loss = {.total = std::numeric_limits<double>::quiet_NaN()}});
  CHECK(screen(f.stream.text()).back().find("loss nan") != std::string::npos);
}

TEST_CASE("progress: the time that is left in words") {
  CHECK(duration_in_words(0) == "0 seconds");
  CHECK(duration_in_words(1.2) == "1 second");
  CHECK(duration_in_words(59.4) == "59 seconds");
  CHECK(duration_in_words(59.6) == "1 minute");
  CHECK(duration_in_words(3599) == "59 minutes");
  CHECK(duration_in_words(3600) == "1 hour");
  CHECK(duration_in_words(10921) == "3 hours 2 minutes");
  CHECK(duration_in_words(2 * 86400 + 5 * 3600 + 59) == "2 days 5 hours");
  CHECK(duration_in_words(-1) == "?");
  CHECK(duration_in_words(std::numeric_limits<double>::quiet_NaN()) == "?");
}

TEST_CASE("format_duration") {
  CHECK(format_duration(0) == "0:00");
  CHECK(format_duration(7.4) == "0:07");
  CHECK(format_duration(59.6) == "1:00");
  CHECK(format_duration(754) == "12:34");
  CHECK(format_duration(10921) == "3:02:01");
  CHECK(format_duration(2 * 86400 + 5 * 3600) == "2 d 05:00");
  CHECK(format_duration(std::numeric_limits<double>::quiet_NaN()) == "?");
  CHECK(format_duration(std::numeric_limits<double>::infinity()) == "?");
}
