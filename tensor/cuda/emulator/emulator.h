// The emulated GPU: starts kernels that a host compiler has built, and says what they do wrong.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace gradus::cuda::emulator {

/// A word among a kernel's arguments that is a pointer, or may be one.
struct ArgumentWord {
  int argument;  // counted from 1
  const void* value;
  bool is_pointer;    // else 8 bytes of a struct, which may hold anything
  bool is_read_only;  // points to constant numbers
};

/// A kernel with its arguments, as it waits in a stream or stands in a graph.
struct Launch {
  std::string name;
  const void* kernel;  // its address: what cudaFuncSetAttribute knows it by
  dim3 grid, block;
  std::size_t shared_bytes;    // of dynamic shared memory
  std::function<void()> body;  // what one thread does
  std::vector<ArgumentWord> words;
  std::size_t shared_limit = 0;  // of static and dynamic shared memory; set by submit()
};

/// Runs the launch, or records it if the stream is being captured. What a GPU would refuse gives
/// CUDA's status, and refusal() the reason; what goes wrong in the kernel throws Error.
cudaError_t submit(Launch launch, cudaStream_t stream);

/// Why the last launch on this host thread was refused.
const std::string& refusal();

/// Whether each launch is run in three orders of blocks and threads, each from the same memory, and
/// the results compared byte by byte. On at first, unless the environment has
/// GRADUS_EMULATOR_ORDERS=0; left out where a launch can write more than 64 MiB.
void set_order_check(bool on);
bool order_check();

/// Whether a graph's work from other streams than the captured one runs as late as the waits for
/// their events allow, instead of in the host's order. Off at first; counts while capturing.
void set_late_branches(bool on);

/// Whether fresh and freed memory is filled with 0xFF bytes (on at first).
void set_poison(bool on);

/// Device memory in bytes; at first GRADUS_EMULATOR_MEMORY MiB, or 4 GiB.
void set_memory_limit(std::size_t bytes);

/// Throws Error: "[emulator] kernel softmax, block (0, 0, 0), thread (33, 0, 0): message", without
/// the place where no kernel runs.
[[noreturn]] void fault(const std::string& message);

template <class T>
void collect_words(int argument, const T& value, std::vector<ArgumentWord>& words) {
  static_assert(std::is_trivially_copyable_v<T>, "a kernel's arguments are copied byte by byte");
  if constexpr (std::is_pointer_v<T>) {
    using Target = std::remove_pointer_t<T>;
    constexpr bool is_number =  // or a struct too loosely aligned to hold pointers
        std::is_arithmetic_v<std::remove_const_t<Target>> || alignof(Target) < alignof(void*);
    constexpr bool read_only = std::is_const_v<Target> && is_number;
    words.push_back({argument, value, true, read_only});
  } else if constexpr (std::is_class_v<T>) {
    T clean = value;
#if __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(&clean);  // what lies between members may look like a pointer
#endif
    const auto* bytes = reinterpret_cast<const unsigned char*>(&clean);
    for (std::size_t at = 0; at + sizeof(void*) <= sizeof(T); at += sizeof(void*)) {
      const void* word = nullptr;
      std::copy_n(bytes + at, sizeof(void*), reinterpret_cast<unsigned char*>(&word));
      words.push_back({argument, word, false, false});
    }
  }
}

/// What <<<grid, block, shared_bytes, stream>>> is under nvcc.
template <class... Parameters>
cudaError_t launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   std::size_t shared_bytes, cudaStream_t stream,
                   std::type_identity_t<Parameters>... arguments) {
  Launch made{name, reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, {}, {}, 0};
  int argument = 0;
  (collect_words(++argument, arguments, made.words), ...);
  made.body = [kernel, values = std::tuple<Parameters...>(arguments...)] {
    std::apply(kernel, values);
  };
  return submit(std::move(made), stream);
}

}  // namespace gradus::cuda::emulator
