#!/usr/bin/env bash
# Does all set-up and the main job in about ten minutes (twenty with AVX2 alone): builds, gets CIFAR-10, pre-trains a ResNet-18
# by what learns most in so short a time, and compares it with an untrained encoder by linear evaluation.
# usage: apps/vicreg/run.sh [--data DIR] [--out DIR]
#   --data DIR   CIFAR-10's binary files, if they are at hand; otherwise they are downloaded
#   --out DIR    run folder (default runs/quick here, or runs/quick-synthetic without CIFAR-10)
# Running it again reuses what is there. Where this folder cannot be written, GRADUS_BUILD=DIR names one
# for all: the build, CIFAR-10 and the run.
set -euo pipefail
root=$(CDPATH= cd "$(dirname "$0")/../.." && pwd)
build=${GRADUS_BUILD:-$root/build}
files=${GRADUS_BUILD:-$root}
install_log=$(mktemp)
trap 'rm -f "$install_log"' EXIT
source "$root/apps/vicreg/setup.sh"

data= out=
while [ $# -gt 0 ]; do
  case $1 in
    --data) data=${2:?--data needs a folder}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    -h | --help) sed -n '2,8s/^# //p' "$0"; exit 0 ;;
    *) echo "run.sh: error: unknown option $1 (--help lists the options)" >&2; exit 1 ;;
  esac
done

install_packages "${packages_to_build[@]}"
# Compiling for GPUs takes minutes: not where there is none, unless this build folder has them already.
if [ ! -e "$build/CMakeCache.txt" ] && ! nvidia-smi -L >/dev/null 2>&1; then
  GRADUS_CMAKE_FLAGS="-DGRADUS_CUDA=OFF ${GRADUS_CMAKE_FLAGS:-}"
fi
build_gradus vicreg_train vicreg_linear_eval vicreg_report

if [ -n "$data" ]; then
  dataset=cifar10
else
  dataset=cifar10 data=$files/cifar10 status=0
  "$root/apps/vicreg/get_cifar10.sh" "$data" || status=$?
  case $status in
    0) ;;
    3) # no network
      echo "going on with the built-in data set"
      dataset=synthetic data= ;;
    *) exit $status ;; # it has said why, or was interrupted
  esac
fi
if [ -z "$out" ]; then
  [ $dataset = cifar10 ] && out=$files/runs/quick || out=$files/runs/quick-synthetic
fi
data_options=(--dataset $dataset ${data:+--data "$data"})
programs=$build/apps/vicreg

precision=()  # bfloat16 where the processor multiplies it, or the GPU that was built for
if grep -qs avx512_bf16 /proc/cpuinfo ||
  { grep -qs '^CMAKE_CUDA_COMPILER:.*=/' "$build/CMakeCache.txt" && nvidia-smi -L >/dev/null 2>&1; }; then
  precision=(--bf16)
fi

# In so few steps of so few images LARS teaches as much as the recipe's Muon, in less time.
"$programs/train" "${data_options[@]}" --out "$out" --resume \
  --recipe fast --optimizer lars --trust 0.005 "${precision[@]}" \
  --limit 4000 --batch-size 50 --epochs 2

# evaluate NAME ARGUMENT...: linear evaluation on cached features, kept in $out/NAME.txt and .json
evaluate() {
  local name=$1
  shift
  if [ "$out/$name.txt" -nt "$out/checkpoint.safetensors" ]; then return; fi
  "$programs/linear_eval" "$@" "${data_options[@]}" --limit 4000 --test-limit 1000 --crops 0 \
    --protocol emp-ssl --knn "${precision[@]}" --json "$out/$name.json" >"$out/$name.tmp"
  mv "$out/$name.tmp" "$out/$name.txt"
}
echo "evaluating the trained and an untrained encoder"
evaluate trained "$out/checkpoint.safetensors"
evaluate untrained --untrained

rows=$(python3 - "$out" <<'PYTHON'
import json, sys
for name in ("trained", "untrained"):
    with open(f"{sys.argv[1]}/{name}.json") as file:
        results = json.load(file)
    cells = []
    for kind in (results["linear"], results["knn"]):
        figures = (kind["top1"], *kind["top1_interval_95"])
        cells.append("{:.2f} % ({:.2f} to {:.2f})".format(*(100 * figure for figure in figures)))
    print(f"  {name + ' encoder':<17} {cells[0]:<31} {cells[1]}")
PYTHON
)
shown=$(printf '%q ' "${data_options[@]}")
cat <<SUMMARY

                    linear top-1 (95 % interval)    kNN top-1
$rows

checkpoint  $out/checkpoint.safetensors
metrics     $out/metrics.jsonl
evaluation  $out/trained.txt, $out/untrained.txt (and .json)

One to two hours on two cores with AMX or AVX-512-BF16, longer elsewhere:
  $programs/train $shown--recipe fast --bf16 --out runs/fast --resume
  $programs/linear_eval runs/fast/checkpoint.safetensors $shown--protocol emp-ssl --knn --crops 0
VICReg's own, 500 epochs (days on a CPU):
  $programs/train $shown--out runs/full --resume

All of it on one page, to open in a browser: $out/report.html
SUMMARY
