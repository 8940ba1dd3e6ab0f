#include "vicreg/interrupt.h"

#include <signal.h>

#include <iterator>

namespace gradus::vicreg {
namespace {

constexpr int signals[] = {SIGINT, SIGTERM, SIGHUP};
volatile sig_atomic_t is_caught[std::size(signals)] = {};
volatile sig_atomic_t received = 0;

/// What catches a signal: with all three held back meanwhile, so that none comes in between.
struct sigaction action_of(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  for (const int signal : signals) sigaddset(&action.sa_mask, signal);
  return action;
}

void restore_defaults() {
  const struct sigaction default_action = action_of(SIG_DFL);
  for (std::size_t i = 0; i < std::size(signals); ++i)
    if (is_caught[i]) ::sigaction(signals[i], &default_action, nullptr);
}

void remember(int signal) {
  received = signal;
  restore_defaults();
}

}  // namespace

InterruptGuard::InterruptGuard() {
  received = 0;
  const struct sigaction catching = action_of(remember);
  for (std::size_t i = 0; i < std::size(signals); ++i) {
    struct sigaction before = {};
    ::sigaction(signals[i], nullptr, &before);
    is_caught[i] = before.sa_handler != SIG_IGN;
  }
  // The flags stand before the first signal can come.
  for (std::size_t i = 0; i < std::size(signals); ++i)
    if (is_caught[i]) ::sigaction(signals[i], &catching, nullptr);
}

InterruptGuard::~InterruptGuard() { restore_defaults(); }

int InterruptGuard::signal() const { return received; }

}  // namespace gradus::vicreg
