#!/usr/bin/env python3
"""gpu_check on a pretended GPU: every program that it starts is a stand-in that prints what the real
one would, and one of them can be made to fail or to hang. Each fault must show in its part, be cut
within its limit, and leave the other parts and the report whole.

  gpu_check_test.py [-v]
"""
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "apps/gpu_check/gpu_check.py"
PROGRAMS = ["apps/vicreg/train", "apps/vicreg/linear_eval", "apps/bench/step", "apps/bench/conv",
            "apps/bench/gpu_step", "apps/bench/conv_ladder",
            *(f"tests/test_{suite}" for suite in ("tensor", "autograd", "nn", "optim", "data", "cuda", "apps"))]
TOOLS = ["nvidia-smi", "ldd", "compute-sanitizer", "ncu", "python3", "mpirun"]
NEEDED = ["bash", "basename", "mkdir", "sleep", "touch", "dirname"]  # by the stand-ins and --prepare

STAND_IN = r"""#!/bin/bash
# A stand-in for whatever it is called as. FAULT=NAME:fail or NAME:hang, or NAME@TEXT:fail where only
# calls with TEXT among their arguments are meant. NAME:crash fails when all is done; train:differ
# trains to other weights, with other losses.
name=$(basename "$0")
who=${FAULT%%:*}
[[ $name == "${who%@*}" && ( $who != *@* || "$*" == *"${who#*@}"* ) ]] && fault=${FAULT##*:}
refuse() { echo "$name: error: $1" >&2; exit 1; }
[ "$fault" = fail ] && refuse "made to fail"
[ "$fault" = hang ] && { trap '' TERM; while :; do sleep 0.1; done; }
out= json= previous=
for argument in "$@"; do
  [ "$previous" = --out ] && out=$argument
  [ "$previous" = --json ] && json=$argument
  [ "$previous" = --log-file ] && log=$argument
  previous=$argument
done
layer='{"layer":"layer1 3x3","count":4,"forward":1e-4,"backward_input":1e-4,"backward_weight":2e-4}'
case $name in
  nvidia-smi) echo "NVIDIA H100 80GB HBM3, 580.00, 81559 MiB, 1980 MHz, 2619 MHz" ;;
  ldd) echo "libc.so.6 => /lib/libc.so.6 (0x0)" ;;
  step) if [[ " $* " == *" --json "* ]]; then
      echo '{"seconds":0.01,"least_seconds":0.009,"peak_tensors":2147483648,"reserved":3221225472,"replayed":true}'
    else echo "batch 4: median step 0.01 s, ${STEP:-replayed as a graph}"; fi ;;
  conv) echo "$layer" ;;
  gpu_step) echo '{"kernels":[{"name":"k","calls":2,"least":1e-3,"expected":1.5e-3,"measured":2e-3,"bound_by":"memory"}],"calls":2,"least":1e-3,"expected":1.5e-3,"measured":2e-3}' ;;
  conv_ladder) echo "1 naive 42.0" ;;
  test_*) [ "$GRADUS_TEST_DEVICE" = cuda ] || refuse "not on the GPU"
    echo "[doctest] test cases: 3 | 3 passed | 0 failed | 0 skipped" ;;
  compute-sanitizer) [[ "$*" == *"--error-exitcode 99"* ]] || refuse "errors would pass"
    [[ "$*" != */tests/* || $GRADUS_TEST_DEVICE == cuda ]] || refuse "not on the GPU"
    echo "========= ERROR SUMMARY: 0 errors" ;;
  ncu) printf '%s\n' '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"' \
    '"0","void gradus::cuda::fill_kernel<float>(float)","gpu__time_duration.sum","nsecond","1,500"' >"$log" ;;
  train) [[ "$*" != *blocking* || $CUDA_LAUNCH_BLOCKING == 1 ]] || refuse "launches do not block"
    [[ "$*" != *eager* || $GRADUS_CUDA_SYNC == 1 ]] || refuse "steps are recorded"
    echo "$TRAIN"
    loss=30.5
    [ "$fault" = differ ] && loss=31
    mkdir -p "$out"; echo "weights that lead to $loss" >"$out/checkpoint.safetensors"
    for step in 1 2 3; do echo "{\"step\":$step,\"epoch\":1,\"loss\":$loss,\"images_per_second\":5000}"; done >"$out/metrics.jsonl"
    echo '{"step":3,"epoch":1,"std_mean":0.9,"std_min":0.5,"effective_rank":12.0}' >>"$out/metrics.jsonl"
    echo '{"step":3,"epoch":1,"knn_accuracy":0.5}' >>"$out/metrics.jsonl"
    printf '{"step":4,"epo' >>"$out/metrics.jsonl" ;;
  mpirun) [[ $CUDA_VISIBLE_DEVICES =~ ^[^,]+$ ]] || refuse "the processes would not share a GPU"
    shift 2; "$@" || exit ;;
  linear_eval) echo '{"linear":{"top1":0.5}}' >"$json"; echo "linear (vicreg protocol): top-1 50.00 %" ;;
  python3) case "$*" in
    *"import torch"*) echo "2.11.0 True" ;;
    *pytorch_gpu_step*) echo '{"torch":"2.11.0","cudnn":91000,"gpu":"H100"}'
      for time in '"compiled","batch":4,"seconds":0.03' '"eager","batch":4,"seconds":0.02' \
        '"graph","batch":4,"seconds":0.04'; do echo "{\"precision\":\"bf16\",\"way\":$time}"; done ;;
    *pytorch_layers*) echo "${layer/1e-4/3e-4}" ;;
  esac ;;
esac
[ "$fault" != crash ] || exit 139
"""


REFUSING_TRAIN = r"""#!/bin/bash
previous=
for argument in "$@"; do
  [ "$previous" = --out ] && [ -e "$argument/checkpoint.safetensors" ] && { echo "there is a checkpoint"; exit 1; }
  [ "$previous" = --data ] && [ ! -d "$argument" ] && { echo "there is no $argument"; exit 1; }
  previous=$argument
done
exec "$(dirname "$0")/../../real/train" "$@"
"""


def make_root(folder: Path, without=""):
    """A bundle of stand-ins; returns the folder of the tools, which are all that there are."""
    tools = folder / "tools"
    for path in [*(folder / name for name in PROGRAMS), *(tools / name for name in TOOLS if name != without)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    for name in NEEDED:
        (tools / name).symlink_to(shutil.which(name))
    return tools


def environment(tools, fault="", **more):
    return {**os.environ, "PATH": str(tools), "FAULT": fault, "GRADUS_TEST_DEVICE": "cpu", **more}


def log_names(archive):
    with tarfile.open(archive) as logs:
        return logs.getnames()


class Outcome:
    def __init__(self, fault="", minutes=3.0, arguments=(), without="", **more):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tools = make_root(folder, without)
            begin = time.monotonic()
            process = subprocess.run(
                [sys.executable, SCRIPT, "--root", folder, "--out", folder / "report", "--small",
                 "--minutes", str(minutes), *arguments],
                env=environment(tools, fault, **more), capture_output=True, text=True)
            self.code, self.seconds = process.returncode, time.monotonic() - begin
            self.output = process.stdout + process.stderr
            report = folder / "report" / "report.json"
            self.json = json.loads(report.read_text()) if report.exists() else None
            markdown = folder / "report" / "report.md"
            self.markdown = markdown.read_text() if markdown.exists() else ""
            self.left = sorted(str(path.relative_to(folder / "report")) for path in (folder / "report").rglob("*")
                               if path.is_file())
            logs = folder / "report" / "logs.tar"
            self.logs = log_names(logs) if logs.exists() else []

    def statuses(self):
        return {part["name"]: part["status"] for part in self.json["parts"]}

    def problems(self, name):
        return next(part["problems"] for part in self.json["parts"] if part["name"] == name)


ALL = ["start", "suites", "speed", "layers", "exact", "shards", "kernels", "sanitizer", "ncu", "training"]
FILES = ["logs.tar", "report.json", "report.md"]
# What is made to fail or hang, and the part that must say so.
FAULTS = {"nvidia-smi": "start", "step@4 2 ": "start", "test_nn": "suites", "step@--json --eager": "speed",
          "conv": "layers", "train@blocking": "exact", "train@--probe": "shards", "mpirun": "shards",
          "gpu_step": "kernels", "conv_ladder": "kernels", "ncu": "ncu",
          "compute-sanitizer": "sanitizer", "train@/training": "training", "linear_eval": "training"}


def running(*parts):
    """Whether a process is there in whose command line the parts follow each other."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if "\0".join(parts) in path.read_bytes().decode(errors="replace"):
                return True
        except OSError:  # it has ended
            pass
    return False


def wait_until(holds):
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


class GpuCheckTest(unittest.TestCase):
    def test_data_and_prepare_are_of_the_callers_folder_whatever_was_left_there(self):
        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            (here / "report/training").mkdir(parents=True)
            (here / "report/training/checkpoint.safetensors").write_text("of a check before")
            (here / "report/work").mkdir()
            tools = make_root(here / "root")
            # train, as the real one, refuses a folder with a checkpoint, and data that are not there.
            train = here / "root/apps/vicreg/train"
            (here / "root/real").mkdir()
            train.rename(here / "root/real/train")
            train.write_text(REFUSING_TRAIN)
            train.chmod(0o755)
            process = subprocess.run(
                [sys.executable, SCRIPT, "--root", here / "root", "--out", "report", "--small", "--minutes", "1",
                 "--parts", "training", "--data", "images", "--prepare",
                 "mkdir images; touch images/data_batch_{1..5}.bin images/test_batch.bin"],
                cwd=here, env=environment(tools), capture_output=True, text=True)
            self.assertEqual(process.returncode, 0, process.stdout + process.stderr)

    def test_all_is_well(self):
        run = Outcome()
        self.assertEqual(run.code, 0, run.output)
        self.assertEqual(run.statuses(), {name: "ok" for name in ALL})
        for text in ("bf16, batch 4", "1 naive 42.0", "| bf16 | 4 | 10.00 | 9.00 | 800 | 2,048 | 3,072 |",
                     "| bf16 | 4 | 10.00 | 20.00 | eager | 0.50 |", "| layer1 3x3 | 100 | 300 | 100 | 100 | 200 | 200 |",
                     "bf16, 1 layers: 1.60 ms, cuDNN's 2.40 ms", "| k | 2 | 1.000 | 1.500 | 2.000 | 50 % | memory |",
                     "fill_kernel<float> | 1 | 0.002", "top-1 50.00 %"):
            self.assertIn(text, run.markdown)
        self.assertEqual(run.left, [*FILES, "training/metrics.jsonl"])
        self.assertLess({"first_steps.log", "test_nn.log", "training.log"}, set(run.logs))

    def test_without_data_the_built_in_set_serves(self):
        for arguments in (["--data", "nowhere"], ["--data", "nowhere", "--prepare", "exit 7"]):
            run = Outcome(arguments=["--parts", "start,training", *arguments])
            self.assertEqual(run.code, 1, run.output)
            self.assertIn("nowhere does not hold CIFAR-10's binary files", run.output)
            self.assertIn("5,000 images/s. The built-in data set.", run.markdown)
            self.assertIn("top-1 50.00 %", run.markdown)

    def test_what_does_not_end_the_check(self):
        for more in ({"STEP": "kernel by kernel"}, {"without": "nvidia-smi"}):
            run = Outcome(arguments=["--parts", "start,speed"], **more)
            self.assertEqual(run.statuses(), {"start": "failed", "speed": "ok"}, run.output)
        run = Outcome(arguments=["--parts", "shards"], without="mpirun")
        self.assertEqual(run.statuses(), {"shards": "left out"}, run.output)
        self.assertIn("mpirun is not on this machine", run.markdown)
        self.assertIn("| probe | 30.5 | 30.5 |", run.markdown)

    def test_steps_that_are_not_recorded(self):
        run = Outcome(arguments=["--parts", "shards"], TRAIN="steps were started kernel by kernel")
        self.assertEqual(run.problems("shards"), [f"{name}: the steps were not recorded" for name in
                                                  ("alone", "probe", "two shards", "two shards again")])

    def test_killed_it_leaves_what_was_measured_and_no_command(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tools = make_root(folder)
            process = subprocess.Popen(
                [sys.executable, SCRIPT, "--root", folder, "--out", folder / "report", "--small", "--parts", "speed"],
                env=environment(tools, "step@--json --eager:hang"), stdout=subprocess.DEVNULL)

            hanging = [str(folder / "apps/bench/step"), "4", "2", "--device", "cuda", "--json", "--eager"]
            wait_until(lambda: running(*hanging))
            report = (folder / "report/report.md").read_text()
            self.assertIn("| fp32 | 4 | 10.00 |", report)
            process.kill()
            process.wait()
            wait_until(lambda: not running(*hanging))
            self.assertIn("step_fp32_4.log", log_names(folder / "report/logs.tar"))

    def test_the_time_limit_holds(self):
        run = Outcome("train:hang", minutes=0.3, arguments=["--parts", "start,training"])
        self.assertEqual(run.statuses(), {"start": "ok", "training": "failed"}, run.output)
        self.assertLess(run.seconds, 18 + 2)

    def test_many_views(self):
        arguments = ["--parts", "start,views"]
        run = Outcome(arguments=arguments)
        self.assertEqual(run.code, 0, run.output)
        self.assertEqual(run.statuses(), {"start": "ok", "views": "ok"})
        self.assertIn("bf16, the recipe emp-ssl over 2 epochs", run.markdown)
        self.assertIn("top-1 50.00 %", run.markdown)
        self.assertEqual(run.left, [*FILES, "views/metrics.jsonl"])
        for program in ("train@emp-ssl", "linear_eval@--bf16"):
            run = Outcome(f"{program}:fail", arguments=arguments)
            self.assertEqual(run.statuses(), {"start": "ok", "views": "failed"}, run.output)
            self.assertIn("made to fail", run.problems("views")[0])

    def check_fault(self, name, part, kind):
        run = Outcome(f"{name}:{kind}", minutes=0.5 if kind == "hang" else 3.0)
        where = f"{name}:{kind}\n{run.output}"
        self.assertEqual(run.code, 1, where)
        unusable = name.startswith("step@4 2")
        self.assertEqual(run.statuses()[part], "unusable" if unusable else "failed", where)
        problems = " ".join(run.problems(part))
        self.assertIn("made to fail" if kind == "fail" else "cut after", problems, where)
        if unusable:
            self.assertEqual(list(run.statuses()), ["start"], where)
        else:
            others = {n: s for n, s in run.statuses().items() if n != part}
            self.assertEqual(others, {n: "ok" for n in ALL if n != part}, where)
        self.assertLess(run.seconds, 45, where)

    def check_all(self, kind):
        with ThreadPoolExecutor(8) as pool:
            for task in [pool.submit(self.check_fault, name, part, kind) for name, part in FAULTS.items()]:
                task.result()

    def test_what_differs_is_told(self):
        weights = [f"{precision}: the weights differ" for precision in ("fp32", "TF32", "bf16")]
        for who, part, problems in (
                ("blocking", "exact", weights), ("resumed", "exact", weights),
                ("--probe", "shards", ["with a classifier beside, the losses differ"]),
                ("again", "shards", ["in two shards, the losses differ from time to time"]),
                ("eager", "shards", ["in two shards, replayed steps differ from those that are not"]),
                ("--shards", "shards", ["in two shards, the first loss is not that of the whole batch"])):
            run = Outcome(f"train@{who}:differ", arguments=["--parts", part])
            self.assertEqual(run.statuses(), {part: "failed"}, run.output)
            self.assertEqual(run.problems(part), problems)

    def test_each_part_fails(self):
        self.check_all("fail")

    def test_each_part_hangs(self):
        self.check_all("hang")

    def test_a_crash_after_the_last_case(self):
        run = Outcome("test_nn:crash", arguments=["--parts", "start,suites"])
        self.assertEqual(run.statuses(), {"start": "ok", "suites": "failed"}, run.output)
        self.assertIn("test_nn: exit code 139", run.problems("suites")[0])

    def test_pytorch_hides_nothing_of_ours(self):
        run = Outcome("python3@pytorch_layers:hang", minutes=0.4, arguments=["--parts", "start,layers"])
        self.assertEqual(run.statuses(), {"start": "ok", "layers": "ok"}, run.output)
        self.assertEqual(run.markdown.count("| layer1 3x3 | 100 |"), 2, run.markdown)
        self.assertIn("tf32, PyTorch: cut after", run.markdown)
        run = Outcome("python3@pytorch_gpu_step:fail", arguments=["--parts", "start,speed"])
        self.assertIn("PyTorch: exit code 1: python3: error: made to fail", run.markdown)

    def test_any_alphabet_will_do(self):
        run = Outcome(arguments=["--parts", "start,speed"], STEP="replayed as a graph: \u00b5 \udcff",
                      LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        self.assertEqual(run.statuses(), {"start": "ok", "speed": "ok"}, run.output)
        self.assertNotIn("Traceback", run.output)

    def test_no_time(self):
        run = Outcome(minutes=0.06, fault="test_tensor:hang")
        self.assertEqual(run.code, 1, run.output)
        self.assertLess(run.seconds, 12)
        self.assertIn("cut", run.statuses().values())

    def test_no_programs(self):
        with tempfile.TemporaryDirectory() as name:
            process = subprocess.run([sys.executable, SCRIPT, "--root", name, "--out", f"{name}/r"],
                                     capture_output=True, text=True)
            self.assertEqual(process.returncode, 1)
            self.assertIn("has no apps/vicreg/train", process.stderr)
            self.assertEqual(len(process.stderr.splitlines()), 1)


if __name__ == "__main__":
    unittest.main()
