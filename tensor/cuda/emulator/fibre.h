// A fibre: a function call that can stop in the middle, and go on later. It is a stack with the
// registers that were saved when it was left; boost.context does the switch itself.
#pragma once

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

#include <gradus/tensor/check.h>

#if defined(__SANITIZE_ADDRESS__)  // which must be told of each switch
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace gradus::cuda::emulator {

namespace context = boost::context::detail;

inline char* map_stack(std::size_t bytes, std::size_t guard) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  check(memory != MAP_FAILED, "emulator", "no memory for a thread's stack");
  mprotect(memory, guard, PROT_NONE);  // a stack that overflows must not reach its neighbour
  return static_cast<char*>(memory);
}

/// A stack, and where to go on upon it. Stacks are kept for later threads and never freed.
class Fibre {
 public:
  using Entry = void (*)(context::transfer_t);

  /// The stack that the process already runs on.
  Fibre() = default;

  /// A stack of its own. `number` sets the stacks' tops apart: at equal places in their pages they
  /// would share a few sets of the processor's caches.
  explicit Fibre(std::size_t number)
      : bottom_(map_stack(stack_bytes, guard_bytes) + guard_bytes),
        size_(stack_bytes - guard_bytes),
        offset_(number % 32 * 128) {}

  /// Forgets what was running on it; the next switch to it calls `entry`.
  void restart(Entry entry) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(bottom_, size_);
#endif
    context_ = context::make_fcontext(bottom_ + size_ - offset_, size_ - offset_, entry);
  }

  /// Leaves this stack, on which the caller runs, and goes on upon another. Returns when somebody
  /// switches back.
  void switch_to(Fibre& next) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake_stack_, next.bottom_, next.size_);
#endif
    arrive(context::jump_fcontext(next.context_, this));
  }

  /// After a switch to this fibre: notes where the one that was left goes on.
  void arrive(context::transfer_t from) {
    auto* left = static_cast<Fibre*>(from.data);
    left->context_ = from.fctx;
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom = nullptr;
    __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &left->size_);
    left->bottom_ = static_cast<char*>(const_cast<void*>(bottom));
#endif
  }

 private:
  static constexpr std::size_t guard_bytes = 4096;
#if defined(__SANITIZE_ADDRESS__)
  static constexpr std::size_t stack_bytes = 256 * 1024;
  void* fake_stack_ = nullptr;
#else
  static constexpr std::size_t stack_bytes = 64 * 1024;
#endif
  char* bottom_ = nullptr;
  std::size_t size_ = 0, offset_ = 0;
  context::fcontext_t context_ = nullptr;
};

}  // namespace gradus::cuda::emulator
