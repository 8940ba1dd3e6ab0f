// Ctrl-C, SIGTERM and SIGHUP (a closed terminal): finish the step, save, leave.
#pragma once

namespace gradus::vicreg {

/// While one is alive SIGINT, SIGTERM and SIGHUP only set a flag. A second one of them, whichever
/// it is, ends the program at once, and so does each once this is gone. A signal that was ignored
/// when the program started (SIGHUP under nohup) stays ignored. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// The signal that came, or 0.
  int signal() const;
};

}  // namespace gradus::vicreg
