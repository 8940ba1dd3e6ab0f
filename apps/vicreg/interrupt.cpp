#include "apps/vicreg/interrupt.h"

#include <csignal>

namespace gradus::vicreg {
namespace {

volatile std::sig_atomic_t received = 0;

void remember(int signal) {
  received = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
  std::signal(SIGINT, remember);
  std::signal(SIGTERM, remember);
}

int interrupt_signal() { return received; }

}  // namespace gradus::vicreg
