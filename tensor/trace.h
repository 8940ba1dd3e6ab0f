// Trace: what each thread did when, as a file that chrome://tracing and ui.perfetto.dev draw.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gradus {

/// While one is alive, the intervals of all threads are collected:
///
///     Trace trace;
///     model(x).backward();
///     write_file_atomically("step.json", trace.json());
///
/// The library's own, by category: "module" (a module's forward, by its path), "backward" (the
/// backward of an op, by its name), "kernel" (a call of the CPU's or the GPU's kernel, which all
/// arithmetic goes through), "step" (all of backward; an optimiser's update) and "data" (a batch
/// being made). They nest as the calls do. A program adds its own by TraceInterval.
///
/// Times are the host's. A GPU works later: there an interval is the time to queue the work, and a
/// replayed graph (RepeatedWork) has none inside. With GRADUS_CUDA_SYNC=1 in the environment
/// nothing is recorded, the host waits for each kernel, and its interval holds the kernel's time.
class Trace {
 public:
  /// Throws Error if there is one already.
  Trace();
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  /// The intervals that have ended so far, in the Trace Event Format: complete events ("ph": "X")
  /// with times in microseconds since this was made. Threads are numbered from 0 in the order in
  /// which they first ended one.
  std::string json() const;

  /// Whether there is one.
  static bool on() { return on_.load(std::memory_order_relaxed); }

 private:
  static inline std::atomic<bool> on_ = false;
};

/// An interval from here to the end of the scope, if there is a Trace; otherwise nothing but a look
/// whether there is.
class TraceInterval {
 public:
  TraceInterval(std::string_view category, std::string_view name) {
    if (Trace::on()) begin(category, name);
  }
  ~TraceInterval() {
    if (open_) end();
  }
  TraceInterval(const TraceInterval&) = delete;
  TraceInterval& operator=(const TraceInterval&) = delete;

 private:
  struct Open {
    std::string category, name;
    std::int64_t begin;  // nanoseconds of the steady clock
  };
  void begin(std::string_view category, std::string_view name);
  void end();

  std::optional<Open> open_;
};

}  // namespace gradus
