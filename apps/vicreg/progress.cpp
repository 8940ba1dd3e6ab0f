#include "vicreg/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "common/program.h"

namespace gradus::vicreg {
namespace {

constexpr double redraw_seconds = 0.1;
constexpr double line_seconds = 10.0;
constexpr std::size_t shortest_bar = 12;
constexpr std::size_t longest_bar = 40;
constexpr const char* clear_line = "\r\x1b[K";

/// Whether lines can be redrawn on this stream.
bool redraws(std::FILE* stream) {
  const char* term = std::getenv("TERM");
  return ::isatty(::fileno(stream)) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

int terminal_columns(std::FILE* stream) {
  winsize size{};
  const bool known = ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

/// "[=====>    ]", `width` characters wide.
std::string bar(double fraction, std::size_t width) {
  const std::size_t inner = width - 2;
  const auto filled =
      static_cast<std::size_t>(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(inner));
  std::string text(inner, ' ');
  std::fill_n(text.begin(), filled, '=');
  if (filled < inner) text[filled] = '>';
  return "[" + text + "]";
}

}  // namespace

std::string format_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e10) return "?";
  const auto total = static_cast<std::int64_t>(std::llround(seconds));
  const std::int64_t days = total / 86400, hours = total / 3600 % 24;
  const std::int64_t minutes = total / 60 % 60;
  if (days > 0) return fmt::format("{} d {:02}:{:02}", days, hours, minutes);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{}:{:02}", minutes, total % 60);
}

std::string duration_in_words(double seconds) {
  if (!(seconds >= 0) || seconds > 1e10) return "?";
  struct Unit {
    std::int64_t seconds;
    const char* name;
  };
  constexpr Unit units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
  const auto in_words = [](std::int64_t count, const char* name) {
    return fmt::format("{} {}{}", count, name, count == 1 ? "" : "s");
  };
  const std::int64_t total = std::llround(seconds);
  for (std::size_t i = 0; i < 2; ++i) {  // days and hours, hours and minutes
    if (total < units[i].seconds) continue;
    const std::int64_t rest = total % units[i].seconds / units[i + 1].seconds;
    const std::string most = in_words(total / units[i].seconds, units[i].name);
    return rest > 0 ? fmt::format("{} {}", most, in_words(rest, units[i + 1].name)) : most;
  }
  const Unit& unit = total >= 60 ? units[2] : units[3];
  return in_words(total / unit.seconds, unit.name);
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Progress::Progress(ProgressOptions options) : options_(std::move(options)) {
  is_terminal_ = options_.is_terminal.value_or(redraws(options_.stream));
  if (!options_.clock) options_.clock = seconds_now;
  if (!options_.columns) {
    options_.columns = [stream = options_.stream] { return terminal_columns(stream); };
  }
  start_ = options_.clock();
  last_drawn_ = -1e300;  // the first update is always shown
}

Progress::~Progress() {
  if (!visible_) return;
  std::fputc('\n', options_.stream);
  std::fflush(options_.stream);
}

void Progress::update(const StepRecord& record) {
  record_ = record;
  pending_ = true;
  const double interval = is_terminal_ ? redraw_seconds : line_seconds;
  const bool last = record.step == options_.total_steps;
  if (last || options_.clock() - last_drawn_ >= interval) draw();
}

void Progress::draw() {
  if (is_terminal_) {
    // The last column stays free: a terminal may wrap when it is filled.
    const auto width = static_cast<std::size_t>(std::max(options_.columns() - 1, 1));
    apps::write_text(options_.stream, fmt::format("\r{}\x1b[K", bar_line(width)));
    visible_ = true;
  } else {
    apps::write_text(options_.stream, plain_line() + "\n");
  }
  std::fflush(options_.stream);
  last_drawn_ = options_.clock();
  pending_ = false;
}

void Progress::message(std::string_view line) {
  apps::write_text(options_.stream, fmt::format("{}{}\n", visible_ ? clear_line : "", line));
  if (visible_) draw();
  std::fflush(options_.stream);
}

void Progress::finish() {
  if (pending_) draw();
  if (visible_) std::fputc('\n', options_.stream);
  visible_ = false;
  std::fflush(options_.stream);
}

std::string Progress::time_left() const {
  const auto done = static_cast<double>(record_.step - options_.first_step);
  const auto left = static_cast<double>(options_.total_steps - record_.step);
  const double elapsed = options_.clock() - start_;
  const double seconds = done > 0 ? elapsed / done * std::max(left, 0.0) : -1;
  return is_terminal_ ? "ETA " + format_duration(seconds) : duration_in_words(seconds) + " left";
}

/// The most telling form that fits.
std::string Progress::bar_line(std::size_t width) const {
  const StepRecord& r = record_;
  const std::int64_t per_epoch = std::max<std::int64_t>(options_.steps_per_epoch, 1);
  const std::int64_t total = options_.total_steps;
  const std::string epoch =
      fmt::format("epoch {}/{}", std::max<std::int64_t>(r.step - 1, 0) / per_epoch + 1,
                  (total + per_epoch - 1) / per_epoch);
  const std::string step = fmt::format("{}/{}", r.step, total);
  const std::string loss = fmt::format("loss {:.4g}", r.loss.total);
  std::string named = loss, numbers;  // the terms with their names and without
  for (const LossTerm& term : loss_terms(r.loss.name).subspan(1)) {
    named += fmt::format("  {} {:.3g}", term.brief, r.loss.*term.value);
    numbers += fmt::format("{}{:.3g}", numbers.empty() ? "" : " ", r.loss.*term.value);
  }
  const std::string brief = fmt::format("{} ({})", loss, numbers);
  const std::string speed = fmt::format("{:.0f} images/s", r.images_per_second);
  const std::string left = time_left();

  const std::string full = fmt::format("{}  step {}  {}  {}  {}", epoch, step, named, speed, left);
  if (full.size() + 2 + shortest_bar <= width) {
    const double fraction =
        static_cast<double>(r.step) / static_cast<double>(std::max<std::int64_t>(total, 1));
    return bar(fraction, std::min(width - full.size() - 2, longest_bar)) + "  " + full;
  }
  for (const std::string& line :
       {full, fmt::format("{}  {}  {}  {}  {}", epoch, step, brief, speed, left),
        fmt::format("{}  {}  {}  {}", epoch, step, brief, left),
        fmt::format("{}  {}  {}", step, brief, left), fmt::format("{}  {}  {}", step, loss, left),
        fmt::format("{}  {}", step, loss)}) {
    if (line.size() <= width) return line;
  }
  return step.substr(0, width);
}

/// The full form of the bar's line, without the bar.
std::string Progress::plain_line() const {
  constexpr std::size_t unlimited = 1000;
  const std::string line = bar_line(unlimited);
  return line.substr(line.find("epoch"));
}

}  // namespace gradus::vicreg
