#!/usr/bin/env python3
"""How fast Gradus is on this machine's CPU beside PyTorch: prints Markdown tables of ratios.

  compare.py                                   everything, beside python3's PyTorch
  compare.py --python A --python B             beside two PyTorchs
  compare.py --only step --only forward --quick

Programs run in turns (Gradus, PyTorch, Gradus, ...), a process each, which warms up and reports its
median. A ratio is Gradus's time or memory divided by PyTorch's: the median over the rounds, and
their range; below 1 Gradus is better. Uncounted rounds first try PyTorch's memory layouts (and,
beside our bfloat16, its float32 as well as its autocast); the fastest goes on and is named. This
script needs only Python's standard library; the PyTorchs need torchvision and numpy.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECTIONS = ("step", "forward", "memory", "layers", "scaling", "sharing")
LAYOUTS = {"NCHW": [], "channels_last": ["--channels-last"]}
FP32 = {f"fp32, {name}": options for name, options in LAYOUTS.items()}
BF16 = {f"bf16, {name}": [*options, "--bf16"] for name, options in LAYOUTS.items()}
TITLE = """# Gradus beside PyTorch on the CPU

Ratio: Gradus's time or memory divided by PyTorch's; below 1, Gradus needs less.

"""
PASSES = {"forward": "forward", "backward_input": "dinput", "backward_weight": "dweight"}


class Failure(Exception):
    """What is printed as the one line of an error."""


def run(command, cwd=None, **environment):
    """The standard output of a program."""
    try:
        done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True,
                              text=True, env={**os.environ, **environment})
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failure(f"{' '.join(map(str, command))} failed: {lines[-1]}")
    return done.stdout.strip()


def run_json(*command, **environment):
    """The JSON objects that a program prints, a line each."""
    print("running", *(Path(part).name if "/" in str(part) else part for part in command),
          file=sys.stderr, flush=True)
    lines = run([*command, "--json"], **environment).splitlines()
    objects = [json.loads(line) for line in lines if line.startswith("{")]
    if not objects:
        raise Failure(f"{' '.join(map(str, command))} printed no figures")
    return objects


class PyTorch:
    """One interpreter whose torch is compared with."""

    def __init__(self, python, threads):
        self.python, self.threads = python, ["--threads", threads]
        config = run([python, "-c", "import numpy, torch, torchvision; "
                      "print(torch.__version__, torch.__config__.show())"])
        self.name = f"PyTorch {config.split()[0]}"
        self.description = (f"{self.name}: oneDNN {search(r'MKL-DNN v([0-9.]+)', config)}, "
                            f"CPU capability {search(r'CPU capability usage: (.*)', config)}")

    def run(self, script, *options):
        return run_json(self.python, HERE / script, *self.threads, *options)

    def step(self, options):
        return self.run("pytorch_vicreg.py", "--step-time", *options)[0]

    def best(self, variants, options, key, tries=1):
        """Tries the variants in turns: the name of the one with the least `key`, and its figures. One
        that fails, as bfloat16 may in an old version, is out."""
        found, failures = [], []
        for _ in range(tries):
            for name, more in variants.items():
                try:
                    found.append((name, self.step([*options, *more])))
                except Failure as failure:
                    failures.append(failure)
        if not found:
            raise failures[0]
        return min(found, key=lambda item: item[1][key])


def search(pattern, text, default="unknown"):
    found = re.search(pattern, text, re.M)
    return found[1].strip() if found else default


def spread(ratios):
    middle = f"{statistics.median(ratios):.2f}"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f} to {max(ratios):.2f})"


def table(head, rows):
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, rule, *rows)) + "\n"


class Comparison:
    def __init__(self, args):
        self.args = args
        self.rounds = 1 if args.quick else args.rounds
        self.steps = 1 if args.quick else 3
        self.folder, self.pytorches = args.build / "apps" / "bench", []
        for path in (self.folder / "step", self.folder / "conv"):
            if not path.is_file():
                raise Failure(f"{path} is not there: build first, or say where with --build")
        if set(args.only) - {"scaling", "sharing"}:
            self.pytorches = [PyTorch(path, args.threads) for path in args.python or ["python3"]]

    def ours(self, batch, steps, options=(), threads=None, **environment):
        return run_json(self.folder / "step", batch, steps, "--threads",
                        threads or self.args.threads, *options, **environment)[0]

    def head(self):
        return ["", "Gradus", *(cell for p in self.pytorches for cell in (f"{p.name}, eager", "ratio"))]

    def race(self, what, batch, ours, theirs, variants):
        """A row of times: probing rounds, then the rounds that count."""
        options = ["--batch-size", batch, "--steps", self.steps, *theirs]
        tries = 1 if self.args.quick else 2  # on a machine whose speed drifts
        winners = [p.best(variants, options, "seconds", tries)[0] for p in self.pytorches]
        times = []  # of each round: Gradus, then each PyTorch
        for _ in range(self.rounds):
            times.append([self.ours(batch, self.steps, ours)["seconds"],
                          *(p.step([*options, *variants[winner]])["seconds"]
                            for p, winner in zip(self.pytorches, winners))])
        row = [what, f"{statistics.median(t[0] for t in times):.3f} s"]
        for i, winner in enumerate(winners, start=1):
            row += [f"{statistics.median(t[i] for t in times):.3f} s ({winner})",
                    spread([t[0] / t[i] for t in times])]
        return row

    def step(self):
        rows = []
        for batch in (64,) if self.args.quick else (64, 128):
            rows.append(self.race(f"fp32, batch {batch}", batch, [], [], FP32))
            rows.append(self.race(f"bf16, batch {batch}", batch, ["--bf16"], [], {**FP32, **BF16}))
        return "Training step", table(self.head(), rows)

    def forward(self):
        row = self.race("fp32, batch 256, one view", 256, ["--forward"], ["--forward"], FP32)
        return "Features for linear evaluation (no graph)", table(self.head(), [row])

    def memory(self):
        """Memory does not vary from run to run as time does: each variant runs once."""
        batch, rows, imported = 64 if self.args.quick else 256, [], {}
        for dtype, ours, variants in (("fp32", [], FP32), ("bf16", ["--bf16"], BF16)):
            mine = self.ours(batch, 1, ours)["peak_resident"]
            row = [f"{dtype}, batch {batch}", f"{mine / 2**20:.0f} MiB"]
            for p in self.pytorches:
                options = ["--batch-size", batch, "--steps", 1]
                name, figures = p.best(variants, options, "peak_resident")
                peak, imported[p.name] = figures["peak_resident"], figures["imported"]
                row += [f"{peak / 2**20:.0f} MiB ({name})", f"{mine / peak:.2f}"]
            rows.append(row)
        notes = "".join(f"\n{name}'s import alone takes {size / 2**20:.0f} MiB of it.\n"
                        for name, size in imported.items())
        return "Peak resident memory of training steps", table(self.head(), rows) + notes

    def layers(self):
        images, repeats = (32, 2) if self.args.quick else (128, 5)
        texts, names = [], ", to ".join(p.name for p in self.pytorches)
        for dtype, more in (("fp32", []), ("bf16", ["--bf16"])):
            options, rounds = ["--batch", images, "--repeats", repeats, *more], []
            for _ in range(self.rounds):
                ours = run_json(self.folder / "conv", "--threads", self.args.threads, *options)
                rounds.append([ours, *(p.run("pytorch_layers.py", *options) for p in self.pytorches)])
            texts.append(f"{dtype}, {images} images: Gradus's time in ms, and the ratio to {names} "
                         f"(the faster layout of each)\n\n{self.layer_table(rounds)}")
        return "Convolutions of ResNet-18, layer by layer", "\n".join(texts)

    def layer_table(self, rounds):
        """rounds[i][0] are Gradus's layers in round i, rounds[i][1:] the PyTorchs'."""
        head, rows = ["layer", "count"], []
        for name in PASSES.values():
            head += [name, *("ratio" for _ in self.pytorches)]

        def cells(seconds, show):
            """seconds(layers): one figure; its median for Gradus, then the ratios."""
            figures = [[seconds(layers) for layers in party] for party in rounds]
            return [f"{1e3 * statistics.median(f[0] for f in figures):.2f}",
                    *(show([f[0] / f[i] for f in figures]) for i in range(1, len(rounds[0])))]

        for index, layer in enumerate(rounds[0][0]):
            row = [layer["layer"], layer["count"]]
            for key in PASSES:
                if key in layer:
                    row += cells(lambda layers: layers[index][key],
                                 lambda ratios: f"{statistics.median(ratios):.2f}")
                else:
                    row += ["-"] * len(rounds[0])
            rows.append(row)

        def total(keys):
            return lambda layers: sum(l["count"] * l.get(key, 0) for l in layers for key in keys)
        row = ["sum over the network", sum(layer["count"] for layer in rounds[0][0])]
        for key in PASSES:
            row += cells(total([key]), spread)
        whole = cells(total(PASSES), spread)
        ratios = ", ".join(f"{ratio} to {p.name}" for ratio, p in zip(whole[1:], self.pytorches))
        return table(head, [*rows, row]) + f"\nAll passes: {whole[0]} ms; ratio {ratios}.\n"

    def scaling(self):
        """With a serial share s of the time t1 of one thread, n threads need
        tn = t1 (s + (1 - s) / n) (Amdahl), so s = (n tn / t1 - 1) / (n - 1)."""
        n, batch = self.args.threads, 64
        if n < 2:
            return "Scaling", "One thread: nothing to compare.\n"
        runs = [[self.ours(batch, self.steps, threads=threads, OMP_WAIT_POLICY="passive")
                 for threads in (1, n)] for _ in range(self.rounds)]
        one, all_ = ([r[i] for r in runs] for i in (0, 1))
        speedups = [a["seconds"] / b["seconds"] for a, b in zip(one, all_)]
        amdahl = [(n / speedup - 1) / (n - 1) for speedup in speedups]
        busy = [b["busy_threads"] for b in all_]
        # While one thread works alone, n - 1 are idle; what is idle for other reasons counts, too.
        idle = [(n - b) / (n - 1) for b in busy]
        rows = [[f"step of batch {batch}, fp32: {count}",
                 f"{statistics.median(r['seconds'] for r in times):.3f} s"]
                for count, times in (("1 thread", one), (f"{n} threads", all_))]
        serial = [b["serial_share"] for b in all_ if "serial_share" in b]
        if serial:
            rows.append(["serial code: outside parallel regions, of the step's time",
                         " to ".join(f"{100 * share:.1f} %" for share in
                                     dict.fromkeys((min(serial), max(serial))))])
        rows += [["speed-up", spread(speedups)],
                 ["serial share by Amdahl's law", spread(amdahl)],
                 [f"threads at work on average, of {n}", spread(busy)],
                 ["serial share by idle threads, at most, of the step's time", spread(idle)],
                 ["the same of one thread's time",
                  spread([i / speedup for i, speedup in zip(idle, speedups)])]]
        return "Scaling with threads", table(["", ""], rows) + """
Amdahl's figure is not the serial code alone: sharing memory bandwidth, caches or clock raises it,
and more cache in all lowers it, even below 0. That from the processor time (waiting threads sleep)
holds uneven shares of work, waking up, and what other programs took, too: it is an upper bound.
"""

    def sharing(self):
        """Two programs at a time, each with all threads: fair shares are halves of the speed."""
        batch, steps = 64, 2 * self.steps
        waits = {"as our programs wait": {}, "as GNU OpenMP waits by itself": {"GOMP_SPINCOUNT": "300000"}}
        rows = []
        for name, environment in waits.items():
            alone, each = [], []
            for _ in range(self.rounds):
                step = lambda _: self.ours(batch, steps, **environment)["seconds"]
                alone.append(step(None))
                with ThreadPoolExecutor() as pool:
                    each.append(max(pool.map(step, range(2))))
            rows.append([name, f"{statistics.median(alone):.3f} s", f"{statistics.median(each):.3f} s",
                         spread([a / b for a, b in zip(alone, each)])])
        head = [f"step of batch {batch}, fp32", "alone", "beside another, the slower", "speed kept"]
        return "Two programs side by side", table(head, rows)

    def circumstances(self):
        """The machine and the programs, as a Markdown list."""
        cpu, release, cache = (path.read_text() for path in (
            Path("/proc/cpuinfo"), Path("/etc/os-release"), self.args.build / "CMakeCache.txt"))
        compiler = run([search("^CMAKE_CXX_COMPILER:.*=(.*)", cache, "c++"), "--version"])
        commit = run(["sh", "-c", "git describe --always --dirty=+ 2>&- || echo unknown"], cwd=HERE)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        processor = search("^model name.*:(.*)", cpu, platform.machine())
        return (f"- {processor}, {self.args.threads} of {os.cpu_count()} cores used, "
                f"{memory:.0f} GiB\n"
                f"- {search('PRETTY_NAME=.(.*).$', release)}, Linux {platform.release()}\n"
                f"- Gradus {commit}; {compiler.splitlines()[0]}\n"
                + "".join(f"- {p.description}\n" for p in self.pytorches)
                + f"- rounds: {self.rounds}; steps timed in each process: {self.steps}\n")


def processor_seconds():
    """Since the machine started: that there were, that all programs had, and that ours had."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    times = [int(field) / os.sysconf("SC_CLK_TCK") for field in fields]
    return [sum(times), sum(times) - times[3] - times[4], sum(os.times()[:4])]  # 3 and 4: idle


def fail(error):
    """Ends the program with one line, as the C++ programs do."""
    sys.exit(f"compare: error: {error}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = fail
    parser.add_argument("--python", action="append", metavar="PATH",
                        help="an interpreter with PyTorch; may be repeated (python3)")
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build", metavar="DIR",
                        help="where Gradus was built (build)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, metavar="N",
                        help="of both (all cores: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(%(default)s)")
    parser.add_argument("--quick", action="store_true",
                        help="one round of single steps: a look, not a measurement")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="may be repeated (all)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the tables here")
    args = parser.parse_args()
    if min(args.threads, args.rounds) < 1:
        parser.error("--threads and --rounds must be positive")
    args.only = args.only or SECTIONS
    return args


def main():
    args = parse_arguments()
    try:
        comparison = Comparison(args)
        outputs = [sys.stdout] + ([args.output.open("w")] if args.output else [])

        def write(text):  # at once: what comes later may fail
            for output in outputs:
                print(text, end="", file=output, flush=True)

        write(TITLE + comparison.circumstances())
        before = processor_seconds()
        for section in SECTIONS:
            if section in args.only:
                write("\n### {}\n\n{}".format(*getattr(comparison, section)()))
        total, busy, own = (after - b for after, b in zip(processor_seconds(), before))
        others = 100 * max(busy - own, 0) / total
        write(f"\nOther programs had {others:.0f} % of the processor time meanwhile.\n")
    except (Failure, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
