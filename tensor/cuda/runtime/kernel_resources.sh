#!/usr/bin/env bash
# Prints each kernel's registers, shared memory, stack and spills as ptxas reports them, and fails if
# a kernel spills. The target cuda_resources runs it.
# usage: kernel_resources.sh NVCC ROOT INCLUDE "75 80 ..." FILE.cu...
set -euo pipefail
nvcc=$1 root=$2 include=$3 architectures=$4
shift 4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

targets=()
for architecture in $architectures; do
  targets+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
done

compile() { # FILE.cu: its report lands in $folder
  local report
  report=$folder/$(basename "$1").txt
  "$nvcc" -std=c++20 -O3 --expt-relaxed-constexpr -DGRADUS_CUDA=1 -I "$root" -I "$include/tensor" -I "$include/optim" -I "$include/data" "${targets[@]}" \
    -Xptxas -v -c "$1" -o "$report.o" 2>"$report" || {
    cat "$report" >&2
    rm "$report"
  }
  rm -f "$report.o"
}

jobs=0
for file in "$@"; do
  compile "$file" &
  if ((++jobs % $(nproc) == 0)); then wait; fi
done
wait
[ "$(ls "$folder" | wc -l)" -eq $# ] # else a file did not compile

cat "$folder"/*.txt | c++filt | awk '
  # "ptxas info    : Compiling entry function '\''void kernel<float>(...)'\'' for '\''sm_80'\''"
  /Compiling entry function/ {
    split($0, quoted, "\x27")
    name = quoted[2]; architecture = quoted[4]
    sub(/^void /, "", name)
    gsub(/gradus::cuda::|gradus::data::|gradus::optim::|gradus::|\(anonymous namespace\)::/, "", name)
    sub(/\(.*/, "", name)
  }
  /bytes stack frame/ { stack = $1; spills = $5 + $9 }
  /Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
    shared = 0
    if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH) + 0
    printf "%-72.72s %-7s %9d %7d %6d %7d\n", name, architecture, registers, shared, stack, spills
    ++kernels
    if (spills > 0) ++spilling
  }
  END {
    printf "%d kernels, %d of them spill\n", kernels, spilling > "/dev/stderr"
    exit kernels == 0 || spilling > 0
  }' | { printf '%-72s %-7s %9s %7s %6s %7s\n' kernel target registers shared stack spills; sort; }
