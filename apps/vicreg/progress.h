// What a person sees while training runs: a bar on a terminal, plain lines elsewhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "vicreg/metrics.h"

namespace gradus::vicreg {

/// What a Progress is of, and where it is shown.
struct ProgressOptions {
  std::int64_t total_steps = 0;  ///< of the whole run
  std::int64_t steps_per_epoch = 1;
  std::int64_t first_step = 0;  ///< steps done before this run, when it was resumed
  std::FILE* stream = stdout;
  /// Whether to draw a bar; by default where `stream` is a terminal.
  std::optional<bool> is_terminal = std::nullopt;
  /// Width of the terminal in columns and time in seconds; tests put their own here.
  std::function<int()> columns = nullptr;
  std::function<double()> clock = nullptr;
};

/// On a terminal one line is redrawn in place, at most ten times a second, and fits the width
/// whatever it is. Elsewhere a line is printed for the first step, the last, and every ten seconds,
/// which says in words how long the run will go on.
class Progress {
 public:
  explicit Progress(ProgressOptions options);
  /// Leaves the cursor on a fresh line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Takes note of a step, and shows it if that is due.
  void update(const StepRecord& record);
  /// Prints a line of its own, above the bar.
  void message(std::string_view line);
  /// Shows the last step for good and ends the line; nothing more is drawn until an update.
  void finish();

 private:
  std::string bar_line(std::size_t width) const;
  std::string plain_line() const;
  /// How long the run will still take: "ETA 3:02:01"; elsewhere "3 hours 2 minutes left".
  std::string time_left() const;
  void draw();

  ProgressOptions options_;
  bool is_terminal_;
  double start_;
  double last_drawn_;
  bool visible_ = false;  ///< a bar stands on the terminal's current line
  bool pending_ = false;  ///< `record_` has not been shown yet
  StepRecord record_;
};

/// Seconds, from a moment that is the same all through a process, by a clock that only goes on.
double seconds_now();
/// "0:07", "12:34", "3:02:01" or "2 d 05:00"; "?" for no time that a run can take.
std::string format_duration(double seconds);
/// "7 seconds", "12 minutes", "3 hours 2 minutes" or "2 days 5 hours"; "?" as above.
std::string duration_in_words(double seconds);

}  // namespace gradus::vicreg
