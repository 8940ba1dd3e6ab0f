// Ctrl-C and SIGTERM: finish the step, save, leave.
#pragma once

namespace gradus::vicreg {

/// From now on SIGINT and SIGTERM only set a flag; a second one ends the program at once.
void catch_interrupts();
/// The signal that came, or 0.
int interrupt_signal();

}  // namespace gradus::vicreg
