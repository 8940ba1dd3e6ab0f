#!/usr/bin/env bash
# Checks that C++ and CUDA sources are laid out as clang-format 14 does it (.clang-format). Ends with
# 77, skipped, where that version is not there: others lay some things out otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
for program in clang-format-14 clang-format none; do
  "$program" --version 2>/dev/null | grep -q 'version 14\.' && break
done
if [ "$program" = none ]; then
  echo "skipped: there is no clang-format 14"
  exit 77
fi
find apps autograd data nn optim tensor tests -regextype posix-egrep -regex '.*\.(h|cpp|inc|cu|cuh)' -print0 |
  xargs -0 -n 32 -P "$(nproc)" "$program" --dry-run -Werror
