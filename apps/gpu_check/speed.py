"""The parts of gpu_check that measure: our steps, PyTorch's, and the kernels beside the model."""
import csv
import io
import json
import os
import re
import shutil
import sys
import time
from collections import defaultdict

PRECISIONS = {"bf16": ["--bf16"], "tf32": ["--tf32"], "fp32": []}


def run_python(runner, name, arguments, limit):
    """Runs the python3 that may have PyTorch, which brings CUDA's libraries itself (see env.sh)."""
    python = shutil.which("python3") or sys.executable
    before = os.environ.get("GRADUS_LIBRARY_PATH_BEFORE", os.environ.get("LD_LIBRARY_PATH", ""))
    return runner.run(name, [python, *arguments], limit, {"LD_LIBRARY_PATH": before})


def json_lines(output):
    """The JSON objects among the lines of an output."""
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                pass


def milliseconds(seconds):
    return f"{1e3 * seconds:.2f}"


class Steps:
    """Runs `step` in many ways and collects the times."""

    def __init__(self, part, settings, runner, until):
        self.part, self.settings, self.runner, self.until = part, settings, runner, until
        self.program = settings.program("apps/bench/step")
        self.rows = []

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
        self.rows.append([name, batch, milliseconds(record["seconds"]),
                          milliseconds(record["least_seconds"]), f"{2 * batch / record['seconds']:,.0f}",
                          f"{record['peak_tensors'] / 2**20:,.0f}", f"{record['reserved'] / 2**20:,.0f}"])
        self.part.data[f"{name}, batch {batch}"] = record
        return record["seconds"]


def steps(part, settings, runner, until):
    """Step times of every precision, as a graph and eager; larger batches; PyTorch; the first
    measurement again, which shows the drift."""
    ours = Steps(part, settings, runner, until)
    batch = settings.batch
    graph = {name: ours.measure(name, batch, flags) for name, flags in PRECISIONS.items()}
    torch = pytorch(part, settings, runner, until)
    for name, flags in PRECISIONS.items():
        ours.measure(f"{name} eager", batch, [*flags, "--eager"])
    for larger in (2 * batch, 4 * batch):
        ours.measure("bf16", larger, PRECISIONS["bf16"])
    again = ours.measure("bf16 again", batch, PRECISIONS["bf16"])
    if again and graph["bf16"]:
        part.text(f"Drift: bf16 measured last takes {again / graph['bf16']:.3f} of the first time.")
    part.table(["Gradus", "batch", "median ms", "least ms", "images/s (both views)", "peak MiB of tensors",
                "MiB taken"], ours.rows)
    compare(part, batch, graph, torch)


def pytorch(part, settings, runner, until):
    """{precision: {way: seconds}} of PyTorch, where python3 has it."""
    found = run_python(runner, "pytorch_version", ["-c", "import torch, torchvision; "
                                                   "print(torch.__version__, torch.cuda.is_available())"], 60)
    if not found.ok or "True" not in found.output:
        part.text(f"PyTorch: python3 has none that sees the GPU ({found.reason()}); left out.")
        return {}
    command = [settings.script("pytorch_gpu_step.py"), "--batch-size", settings.batch, "--steps",
               5 if settings.small else 15]
    result = run_python(runner, "pytorch_step", command, 0.75 * (until - time.monotonic()))
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


def layers(part, settings, runner, until):
    """Each layer's three passes beside cuDNN's, bf16 and TF32."""
    batch = 2 * settings.batch
    names = ("bf16", "tf32")
    flags = {name: ["--batch", batch, "--repeats", 3, "--device", "cuda", "--json", *PRECISIONS[name]] for name in names}

    def layers_of(name, who, result):
        record = next(json_lines(result.output), None)
        if record is None:
            (part.fail if who == "Gradus" else part.text)(f"{name}, {who}: {result.reason()}")
        return record["layers"] if record else []

    # Ours first: PyTorch may take all the time that is left.
    tables = {name: layers_of(name, "Gradus", runner.run(
        f"layers_{name}_gradus", [settings.program("apps/bench/conv"), *flags[name]], until - time.monotonic()))
        for name in names}
    for i, name in enumerate(names):
        limit = (until - time.monotonic()) / (len(names) - i)
        torch = layers_of(name, "PyTorch", run_python(
            runner, f"layers_{name}_pytorch", [settings.script("pytorch_layers.py"), *flags[name]], limit))
        ours, theirs = tables[name], {layer["layer"]: layer for layer in torch}
        part.data[name] = {"gradus": ours, "pytorch": torch}
        passes = ["forward", "backward_input", "backward_weight"]
        rows, sums = [], [0.0, 0.0]
        for layer in ours:
            row = [layer["layer"]]
            for each in passes:
                mine, other = layer.get(each), theirs.get(layer["layer"], {}).get(each)
                row += [f"{1e6 * mine:.0f}" if mine else "-", f"{1e6 * other:.0f}" if other else "-"]
                sums[0] += layer["count"] * (mine or 0)
                sums[1] += layer["count"] * (other or 0)
            rows.append(row)
        part.table([f"{name}, {batch} images: µs", "forward", "cuDNN", "dinput", "cuDNN", "dweight", "cuDNN"],
                   rows)
        part.text(f"All convolutions of a step, {name}: {milliseconds(sums[0])} ms"
                  + (f", cuDNN's {milliseconds(sums[1])} ms." if sums[1] else "."))


def model_gpu(runner):
    """The GPU whose peak rates the model takes, by its name there: this one, or an H100."""
    found = runner.run("gpu", ["nvidia-smi", "-L"], 10).output.lower().replace(" ", "")
    return next((name for name in ("h200", "h100", "a100", "rtx4090", "rtx3090", "t4") if name in found), "h100")


def kernels(part, settings, runner, until):
    """Each kernel's time by events beside the least and the expected one; the ladder of convolutions."""
    program = next(path for path in map(settings.program, ("apps/bench/gpu_step_measured",
                                                           "apps/bench/gpu_step")) if path.exists())
    gpu = model_gpu(runner)
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
                   "--clock-control", "none", "--profile-from-start", "off", "--log-file",
                   settings.work / f"ncu_{name}.csv", settings.program("apps/bench/step"), settings.batch, 1,
                   "--device", "cuda", "--eager", *PRECISIONS[name]]
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
