#!/usr/bin/env bash
# Does all set-up, builds, and runs every required test.
# usage: tests/run.sh [ctest arguments]     e.g. tests/run.sh -R autograd
set -euo pipefail
root=$(CDPATH= cd "$(dirname "$0")/.." && pwd)
build=${GRADUS_BUILD:-$root/build}
install_log=$(mktemp)
trap 'rm -f "$install_log"' EXIT
source "$root/apps/vicreg/setup.sh"

install_packages "${packages_to_build[@]}" "${packages_to_test[@]}" ${GRADUS_TEST_PACKAGES:-}
GRADUS_CMAKE_FLAGS="-DGRADUS_CUDA=AUTO ${GRADUS_CMAKE_FLAGS:-}"  # also where run.sh left it out
build_gradus
cd "$build"
export OMP_WAIT_POLICY=passive  # two tests at a time: waiting threads must not spin
exclude='fuzz|long'
nvidia-smi -L >/dev/null 2>&1 || exclude='fuzz|long|gpu'  # the real GPU's tests need one
# A test that hangs is named, well after the slowest one's end on the slowest machine.
ctest --timeout 3600 --output-on-failure --label-exclude "$exclude" -j "$(nproc)" "$@"
