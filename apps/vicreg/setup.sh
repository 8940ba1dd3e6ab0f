#!/usr/bin/env bash
# Installs the Debian packages that building and testing need and that are missing.
# usage: apps/vicreg/setup.sh
# run.sh and tests/run.sh source it for its functions: install_packages PACKAGE...; build_gradus [TARGET...]

packages_to_build=(g++ cmake ninja-build libeigen3-dev libfmt-dev doctest-dev nlohmann-json3-dev
  libcli11-dev libtomlplusplus-dev libboost-context-dev libpng-dev libjpeg62-turbo-dev zlib1g-dev libminizip-dev
  ca-certificates curl python3)
packages_to_test=(clang-format iproute2 libopenmpi-dev make openmpi-bin)

# Installs those of the named Debian packages that are not there; asks for sudo only if needed.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "${0##*/}: error: missing packages: ${missing[*]}; install them as root, then run this again" >&2
      return 1
    }
    as_root=(sudo)
  fi
  echo "installing: ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3)
  { "${apt[@]}" update &&
    "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$install_log" 2>&1 || {
    echo "${0##*/}: error: apt-get could not install ${missing[*]}:" >&2
    tail -n 5 "$install_log" >&2
    return 1
  }
}

# Configures and builds (Release) in $build.
build_gradus() {
  local log=$build/build.log
  mkdir -p "$build" 2>/dev/null && : 2>/dev/null >"$log" || {
    echo "${0##*/}: error: cannot write to $build; GRADUS_BUILD=DIR builds elsewhere" >&2
    return 1
  }
  echo "building in $build"
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release ${GRADUS_CMAKE_FLAGS:-} \
    >"$log" 2>&1 && cmake --build "$build" ${1:+--target "$@"} >>"$log" 2>&1 || {
    echo "${0##*/}: error: the build failed; the end of $log:" >&2
    grep -E 'error|Error' "$log" | head -n 20 >&2 || true
    tail -n 20 "$log" >&2
    return 1
  }
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  install_log=$(mktemp)
  trap 'rm -f "$install_log"' EXIT
  install_packages "${packages_to_build[@]}" "${packages_to_test[@]}"
  echo "all packages are installed"
fi
