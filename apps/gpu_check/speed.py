"""The parts of gpu_check that measure: our steps, PyTorch's, and the kernels beside the model."""
import csv
import io
import os
import re
import shutil
import sys
import time
from collections import defaultdict

from runner import json_lines

PRECISIONS = {"bf16": ["--bf16"], "tf32": ["--tf32"], "fp32": []}


def run_python(runner, name, arguments, limit):
    """Runs the python3 that may have PyTorch, which brings CUDA's libraries itself (see env.sh)."""
    python = shutil.which("python3") or sys.executable
    before = os.environ.get("GRADUS_LIBRARY_PATH_BEFORE", os.environ.get("LD_LIBRARY_PATH", ""))
    return runner.run(name, [python, *arguments], limit, {"LD_LIBRARY_PATH": before})


def milliseconds(seconds):
    return f"{1e3 * seconds:.2f}"


class Steps:
    """Runs `step` in many ways and shows the times."""

    def __init__(self, part, settings, runner, until):
        self.part, self.settings, self.runner, self.until = part, settings, runner, until
        self.program = settings.program("apps/bench/step")
        self.table = part.table(["Gradus", "batch", "median ms", "least ms", "images/s (both views)",
                                 "peak MiB of tensors", "MiB taken"])

    def measure(self, name, batch, flags, steps=12):
        steps = 2 if self.settings.small else steps
        command = [self.program, batch, steps, "--device", "cuda", "--json", *flags]
        label = name.replace(" ", "_").replace(",", "")
        result = self.runner.run(f"step_{label}_{batch}", command, self.until - time.monotonic())
        record = next(json_lines(result.output), None)
        if not result.ok or record is None:
            self.part.fail(f"{name}, batch {batch}: {result.reason()}")
            return None
        if record.get("capture_failure"):
            self.part.fail(f"{name}, batch {batch}: not captured: {record['capture_failure']}")
        self.part.data[f"{name}, batch {batch}"] = record
        self.table.add(name, batch, milliseconds(record["seconds"]), milliseconds(record["least_seconds"]),
                       f"{2 * batch / record['seconds']:,.0f}", f"{record['peak_tensors'] / 2**20:,.0f}",
                       f"{record['reserved'] / 2**20:,.0f}")
        return record["seconds"]


def steps(part, settings, runner, until):
    """Step times of every precision, as a graph and eager; larger batches; the first measurement
    again, which shows the drift; then PyTorch's, which may take all the time that is left."""
    ours = Steps(part, settings, runner, until)
    batch = settings.batch
    graph = {name: ours.measure(name, batch, flags) for name, flags in PRECISIONS.items()}
    for name, flags in PRECISIONS.items():
        ours.measure(f"{name} eager", batch, [*flags, "--eager"])
    for larger in (2 * batch, 4 * batch):
        ours.measure("bf16", larger, PRECISIONS["bf16"])
    again = ours.measure("bf16 again", batch, PRECISIONS["bf16"])
    if again and graph["bf16"]:
        part.text(f"Drift: bf16 measured last takes {again / graph['bf16']:.3f} of the first time.")
    compare(part, batch, graph, pytorch(part, settings, runner, until))


def pytorch(part, settings, runner, until):
    """{precision: {way: seconds}} of PyTorch, where python3 has it."""
    found = run_python(runner, "pytorch_version", ["-c", "import torch, torchvision; "
                                                   "print(torch.__version__, torch.cuda.is_available())"],
                       min(60, until - time.monotonic()))
    if not found.ok or "True" not in found.output:
        part.text(f"PyTorch: python3 has none that sees the GPU ({found.reason()}); left out.")
        return {}
    command = [settings.script("pytorch_gpu_step.py"), "--batch-size", settings.batch, "--steps",
               5 if settings.small else 15]
    result = run_python(runner, "pytorch_step", command, until - time.monotonic())
    times, rows = defaultdict(dict), []
    for record in json_lines(result.output):
        if "torch" in record:
            part.report.facts["PyTorch, cuDNN"] = f"{record['torch']}, {record['cudnn']}"
        elif "seconds" in record:
            times[record["precision"]][record["way"]] = record["seconds"]
            rows.append([record["precision"], record["way"], milliseconds(record["seconds"])])
        else:
            rows.append([record["precision"], record["way"], record["error"]])
    if not result.ok:
        part.text(f"PyTorch: {result.reason()}; what it had measured until then counts.")
    part.data["pytorch"] = times
    part.table(["PyTorch, channels last", "way", "median ms"], rows)
    return times


def compare(part, batch, ours, torch):
    rows = []
    for name, seconds in ours.items():
        if not seconds or name not in torch or not torch[name]:
            continue
        way, best = min(torch[name].items(), key=lambda item: item[1])
        rows.append([name, batch, milliseconds(seconds), milliseconds(best), way, f"{seconds / best:.2f}"])
        part.data[f"ratio {name}"] = seconds / best
    if rows:
        part.table(["training step", "batch", "Gradus ms", "PyTorch's fastest ms", "way", "ratio"], rows)


PASSES = ["forward", "backward_input", "backward_weight"]


def layers(part, settings, runner, until):
    """Each layer's three passes beside cuDNN's, bf16 and TF32."""
    batch = 2 * settings.batch
    names = ("bf16", "tf32")
    common = ["--batch", batch, "--repeats", 3, "--device", "cuda", "--json"]

    def measured(name, who, result):
        """{layer: what was measured of it, perhaps before a limit}"""
        if not result.ok:
            (part.fail if who == "Gradus" else part.text)(f"{name}, {who}: {result.reason()}")
        found = {record["layer"]: record for record in json_lines(result.output) if "layer" in record}
        part.data[f"{name}, {who}"] = list(found.values())
        return found

    # Ours first: PyTorch may take all the time that is left.
    ours, tables = {}, {}
    for name in names:
        command = [settings.program("apps/bench/conv"), *common, *PRECISIONS[name]]
        result = runner.run(f"layers_{name}_gradus", command, until - time.monotonic())
        ours[name] = measured(name, "Gradus", result)
        tables[name] = part.table([f"{name}, {batch} images: µs", "forward", "cuDNN", "dinput", "cuDNN", "dweight",
                                   "cuDNN"], layer_rows(ours[name], {}))
    for i, name in enumerate(names):
        limit = (until - time.monotonic()) / (len(names) - i)
        command = [settings.script("pytorch_layers.py"), *common, *PRECISIONS[name]]
        theirs = measured(name, "PyTorch", run_python(runner, f"layers_{name}_pytorch", command, limit))
        tables[name].rows[:] = layer_rows(ours[name], theirs)
        both = {layer: theirs[layer] for layer in ours[name] if layer in theirs}
        if both:
            mine = {layer: ours[name][layer] for layer in both}
            part.text(f"Convolutions of a step, {name}, {len(both)} layers: {all_passes(mine)} ms, "
                      f"cuDNN's {all_passes(both)} ms.")


def layer_rows(ours, theirs):
    def microseconds(layer, each):
        return f"{1e6 * layer[each]:.0f}" if each in layer else "-"

    return [[name, *(microseconds(layer, each) for each in PASSES
                     for layer in (ours[name], theirs.get(name, {})))] for name in ours]


def all_passes(measured):
    """Milliseconds of all layers, as often as the network has them."""
    return milliseconds(sum(layer["count"] * layer.get(each, 0)
                            for layer in measured.values() for each in PASSES))


def model_gpu(facts):
    """The GPU whose peak rates the model takes, by its name there: this one, as far as the part
    `start` has found it, or an H100."""
    found = facts.get("GPU, driver, memory, clocks", "").lower().replace(" ", "")
    return next((name for name in ("h200", "h100", "a100", "rtx4090", "rtx3090", "t4") if name in found), "h100")


def kernels(part, settings, runner, until):
    """Each kernel's time by events beside the least and the expected one; the ladder of convolutions."""
    programs = [settings.program(f"apps/bench/{name}") for name in ("gpu_step_measured", "gpu_step")]
    program = programs[0] if programs[0].exists() else programs[1]
    gpu = model_gpu(part.report.facts)
    for name in ("bf16", "tf32"):
        command = [program, "--batch-size", settings.batch, "--measure", "--json", "--gpu", gpu, *PRECISIONS[name]]
        result = runner.run(f"kernels_{name}", command, until - time.monotonic())
        record = next(json_lines(result.output), None)
        if record is None:
            part.fail(f"{name}: {result.reason()}")
            continue
        part.data[name] = record
        groups = sorted(record["kernels"], key=lambda group: -group["measured"])
        rows = [[g["name"], g["calls"], *(f"{1e3 * g[key]:.3f}" for key in ("least", "expected", "measured")),
                 f"{100 * g['least'] / g['measured']:.0f} %" if g["measured"] else "-", g["bound_by"]]
                for g in groups[:24]]
        part.table([f"{name}, batch {settings.batch}, peaks of {gpu}", "calls", "least ms", "expected ms",
                    "measured ms", "reached", "bound by"],
                   rows)
        part.text(f"Sum of all {record['calls']} launches: least {milliseconds(record['least'])} ms, expected "
                  f"{milliseconds(record['expected'])} ms, measured {milliseconds(record['measured'])} ms, each by "
                  "itself.")
    result = runner.run("conv_ladder", [settings.program("apps/bench/conv_ladder")], until - time.monotonic())
    if result.ok:
        part.text(f"```\n{result.output.strip()}\n```")
    else:
        part.fail(f"conv_ladder: {result.reason()}")


def ncu(part, settings, runner, until):
    """gpu__time_duration of each kernel of one eager step, summed by the kernel's function."""
    tool = shutil.which("ncu") or "/usr/local/cuda/bin/ncu"
    if shutil.which(tool) is None:
        part.text("ncu is not on this machine: left out.")
        return "left out"
    for name in ("bf16", "tf32"):
        command = [tool, "--metrics", "gpu__time_duration.sum", "--csv", "--print-units", "base",
                   "--clock-control", "none", "--cache-control", "none", "--profile-from-start", "off",
                   "--log-file", settings.work / f"ncu_{name}.csv", settings.program("apps/bench/step"),
                   settings.batch, 1, "--device", "cuda", "--eager", *PRECISIONS[name]]
        result = runner.run(f"ncu_{name}", command, until - time.monotonic())
        try:
            totals = ncu_totals((settings.work / f"ncu_{name}.csv").read_text())
        except OSError:
            totals = {}
        if not result.ok or not totals:
            part.fail(f"{name}: {result.reason()}")
            continue
        groups = sorted(totals.items(), key=lambda item: -item[1][1])
        part.data[name] = [[function, *counts] for function, counts in groups]
        part.table([f"{name}, batch {settings.batch}: kernel", "calls", "ms"],
                   [[function, count, f"{nanoseconds / 1e6:.3f}"]
                    for function, (count, nanoseconds) in groups[:30]])
        part.text(f"Sum: {sum(n for _, n in totals.values()) / 1e6:.2f} ms in "
                  f"{sum(c for c, _ in totals.values())} kernels.")


def ncu_totals(text):
    """{function: (calls, nanoseconds)} from ncu's CSV, whose head is lines that begin with ==."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    totals = defaultdict(lambda: (0, 0.0))
    for row in csv.DictReader(io.StringIO("\n".join(lines))):
        value = float(row["Metric Value"].replace(",", ""))  # in nanoseconds: --print-units base
        function = re.sub(r"\(anonymous namespace\)::|<unnamed>::|gradus::|cuda::", "", row["Kernel Name"])
        function = re.sub(r"^void ", "", function).split("(")[0][:90]
        count, nanoseconds = totals[function]
        totals[function] = (count + 1, nanoseconds + value)
    return dict(totals)
