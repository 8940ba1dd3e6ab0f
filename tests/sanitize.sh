#!/usr/bin/env bash
# Runs the suite, the emulated GPU's too, under AddressSanitizer and UndefinedBehaviorSanitizer, then
# the loader's and the communicator's tests under ThreadSanitizer. Takes long: most of an hour may go into compiling.
# It builds in build-address and build-thread, or, with GRADUS_BUILD=DIR, in DIR-address and DIR-thread.
set -euo pipefail
root=$(CDPATH= cd "$(dirname "$0")/.." && pwd)
build=${GRADUS_BUILD:-$root/build}

configure() { # SANITIZERS BUILD
  mkdir -p "$2" # which fails with one line where it cannot be written
  cmake -S "$root" -B "$2" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DGRADUS_CUDA=OFF \
    -DGRADUS_SANITIZE="$1" >/dev/null
}

configure address,undefined "$build-address"
cmake --build "$build-address"
# halt_on_error: an undefined behaviour fails the test; leaks are checked by default. Tests ask for
# more memory than there can be, which must be null as elsewhere.
export ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
ctest --test-dir "$build-address" --output-on-failure --label-exclude 'fuzz|long' --exclude-regex '^processes'
# Open MPI keeps memory at its end.
ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 \
  ctest --test-dir "$build-address" --output-on-failure --label-exclude 'fuzz|long' --tests-regex '^processes'

configure thread "$build-thread"
cmake --build "$build-thread" --target test_data test_tensor
# GCC's OpenMP is not built for ThreadSanitizer, so only tests without OpenMP regions can run.
"$build-thread/tests/test_data" -sf='*loader.cpp,*prefetcher.cpp'
"$build-thread/tests/test_tensor" -ts=communicator
