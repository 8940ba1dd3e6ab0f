#!/usr/bin/env python3
"""Proves, measures and trains on a GPU within a time limit: everything that only a real GPU can show,
the most valuable first, each part under a limit of its own. The report is complete whenever the
program stops. Needs Python 3.9 and the programs, built with the CUDA back end; what else is used
where it is there (PyTorch, mpirun, compute-sanitizer, ncu) is named where it is missing.
In --out are then report.md, report.json, logs.tar (what each command printed) and, of training,
metrics.jsonl and report.html.

  gpu_check.py --minutes 9 --data DIR --out DIR     in an unpacked bundle
  gpu_check.py --root build ...                     with the programs of a build folder
"""
import argparse
import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import correctness
import speed
import training
from report import Report
from runner import GRACE, Runner

# Name, title, function, and a part's share of the time that is left when it begins, beside those of
# the parts after it; so what a part leaves goes to them.
PARTS = [
    ("start", "The GPU starts", correctness.start, 40),
    ("suites", "Test suites", correctness.suites, 110),
    ("speed", "Speed", speed.steps, 120),
    ("layers", "Convolutions beside cuDNN", speed.layers, 40),
    ("exact", "Exact at full size", correctness.exact, 50),
    ("shards", "With a classifier beside, and in shards", correctness.shards, 30),
    ("kernels", "Kernels beside the model", speed.kernels, 30),
    ("sanitizer", "compute-sanitizer", correctness.sanitizer, 60),
    ("ncu", "Kernels as ncu times them", speed.ncu, 40),
    ("training", "Training", training.train, 120),
    ("views", "Training on many views", training.many_views, 120),
]
ON_REQUEST = {"views"}  # longer alone than all the others: 30 epochs of 20 views, or as many as fit
FULL_MINUTES = 9.0
ENDING = sum(GRACE.values()) + 1.5  # seconds that a last command's end and the last files may take
CIFAR10 = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


class Settings:
    """What the parts need to know."""

    def __init__(self, args, out):
        self.root = Path(args.root).resolve()
        self.out = out
        self.work = out / "work"  # checkpoints and what else is of one command: removed at the end
        self.small = args.small
        self.batch = 4 if args.small else 256
        self.data = args.data and Path(args.data).resolve()  # programs run in `root`
        self.data_note = args.data_note if self.data else "The built-in data set."
        self.prepared = None  # the Future of the command that makes the data

    def program(self, name):
        return self.root / name

    def check_data(self, part):
        """Where --data lacks files, a problem is told, and the built-in data set serves."""
        folders = [self.data, self.data / "cifar-10-batches-bin"] if self.data else []
        if folders and not any(all((folder / file).is_file() for file in CIFAR10) for folder in folders):
            part.fail(f"{self.data} does not hold CIFAR-10's binary files; the built-in data set serves")
            self.data, self.data_note = None, "The built-in data set."

    def script(self, name):
        """One of apps/bench, which lies beside this program: a build folder has none."""
        return Path(__file__).resolve().parents[1] / "bench" / name


def parse_arguments():
    bundle = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=FULL_MINUTES, help="time in all (9)")
    parser.add_argument("--out", default="gpu_check", help="folder for the report (gpu_check)")
    parser.add_argument("--root", default=bundle, help="folder that holds apps/ and tests/, built")
    parser.add_argument("--data", help="folder with CIFAR-10's binary files; without it, the built-in data set")
    parser.add_argument("--prepare", help="shell command that makes those files, run in the background")
    parser.add_argument("--data-note", default="", help="said beside accuracies: where the pixels come from")
    parser.add_argument("--parts", default=",".join(name for name, *_ in PARTS if name not in ON_REQUEST),
                        help=f"the parts to run, by name (all but {', '.join(ON_REQUEST)})")
    parser.add_argument("--small", action="store_true", help="tiny sizes: to try this program itself")
    args = parser.parse_args()
    known = [name for name, *_ in PARTS]
    args.parts = args.parts.split(",")
    for name in args.parts:
        if name not in known:
            parser.error(f"no part {name}; there are {', '.join(known)}")
    if not 0 < args.minutes < 24 * 60:
        parser.error("--minutes must be above 0")
    return args


def check_root(settings):
    for name in ("apps/vicreg/train", "apps/bench/step", "tests/test_tensor"):
        if not settings.program(name).exists():
            sys.exit(f"gpu_check: error: {settings.root} has no {name}; unpack a bundle, or name a "
                     "build folder with --root")


def main():
    args = parse_arguments()
    begin = time.monotonic()
    out = Path(args.out).resolve()
    settings = Settings(args, out)
    check_root(settings)
    report = Report(out)
    shutil.rmtree(settings.work, ignore_errors=True)  # of a run that was killed
    settings.work.mkdir()
    logs = out / "logs.tar"
    logs.unlink(missing_ok=True)  # of a check before
    runner = Runner(settings.root, settings.work, logs, begin + 60 * args.minutes - ENDING)

    def stop(sign, _frame):
        raise SystemExit(128 + sign)

    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, stop)
    if args.prepare:
        here = f"cd {shlex.quote(os.getcwd())}\n"
        settings.prepared = runner.start("prepare", ["bash", "-c", here + args.prepare], 300)
    try:
        run_parts(args, settings, report, runner)
    finally:
        runner.end_all()
        for part in report.parts:
            if part.status == "running":
                part.fail("stopped from outside")
                part.finish("cut")
        shutil.rmtree(settings.work, ignore_errors=True)
        report.facts["seconds in all"] = round(time.monotonic() - begin)
        report.save()
        print(f"report: {out / 'report.md'}")
    return 0 if report.ok else 1


def run_parts(args, settings, report, runner):
    chosen = [entry for entry in PARTS if entry[0] in args.parts]
    for i, (name, title, function, share) in enumerate(chosen):
        part = report.part(name, title)
        limit = runner.left() * share / sum(later for *_, later in chosen[i:])
        if limit <= 1:
            part.fail("no time was left for it")
            part.finish("cut")
            continue
        try:
            status = function(part, settings, runner, time.monotonic() + limit)
        except Exception as error:  # a part must not end the others
            part.fail(f"{type(error).__name__}: {error}")
            status = None
        part.finish(status)
        if part.status == "unusable":  # the GPU: the others would fail alike
            break


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.stdout.reconfigure(errors="backslashreplace")  # what programs print may be in no alphabet
    sys.exit(main())
