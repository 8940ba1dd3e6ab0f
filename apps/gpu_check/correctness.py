"""The parts of gpu_check that show whether the programs are right on this GPU."""
import hashlib
import os
import re
import shutil
import time

from runner import json_lines_of

SUITES = ["tensor", "autograd", "nn", "optim", "data", "cuda", "apps"]
# What compute-sanitizer's racecheck looks at, in tests of those programs: kernels that share memory
# between threads. Products of matrices are cuBLAS's own.
RACE_CHECKS = {
    "reductions": ("test_tensor", "*norm*,*sum*,*max*,*softmax*,*reduc*"),
    "optimisers": ("test_optim", "*adam*,*lars*"),
    "implicit_gemm": ("test_cuda", "convolution by implicit GEMM rounds*,convolution by implicit GEMM takes*"),
    "warpgroups": ("test_cuda", "convolution by implicit GEMM of warpgroups*"),
    "winograd": ("test_cuda", "convolution by Winograd*"),
}
# mpirun refuses root, and more processes than cores, unless Open MPI is told otherwise.
MPI_ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                   "OMPI_MCA_rmaps_base_oversubscribe": "1"}


def start(part, settings, runner, until):
    """What machine this is, and whether the smallest run works: if not, the check ends here."""
    facts = part.report.facts
    facts["cores"] = os.cpu_count()
    if settings.prepared is None:
        settings.check_data(part)
    smi = runner.run("nvidia-smi", ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,"
                                    "clocks.max.sm,clocks.max.mem", "--format=csv,noheader"],
                     min(15, (until - time.monotonic()) / 2))
    if smi.ok:
        facts["GPU, driver, memory, clocks"] = smi.output.strip()
    else:
        part.fail(f"nvidia-smi does not work: {smi.reason()}")
    libraries = runner.run("ldd", ["ldd", settings.program("apps/vicreg/train")],
                           min(10, (until - time.monotonic()) / 2))
    missing = re.findall(r"(\S+) => not found", libraries.output)
    if missing:
        part.fail(f"shared libraries are missing: {', '.join(missing)}; source env.sh first, or install "
                  "them")
    # It may take of the others' time, which would be lost without it.
    run = runner.run("first_steps", [settings.program("apps/bench/step"), 4, 2, "--device", "cuda"],
                     max(until - time.monotonic(), runner.left() / 4))
    if not run.ok:
        part.fail(f"a step of 8 images does not run: {run.reason()}")
        return "unusable"
    part.text(f"`step 4 2 --device cuda`: {run.output.strip()}")
    if "replayed as a graph" not in run.output:
        part.fail("the step was not captured as a graph")


def suites(part, settings, runner, until):
    """All suites on the GPU, at the same time."""
    threads = max(1, (os.cpu_count() or 1) // len(SUITES))
    env = {"GRADUS_TEST_DEVICE": "cuda", "OMP_NUM_THREADS": str(threads)}
    limit = until - time.monotonic()
    jobs = {}
    for suite in SUITES:
        only = ["--test-suite=device"] if suite == "apps" else ["--test-suite-exclude=emulated *"]
        jobs[f"test_{suite}"] = ([settings.program(f"tests/test_{suite}"), *only], limit, env)
    table = part.table(["suite", "cases", "passed", "failed", "seconds"])
    part.data["suites"] = table.rows
    for name, result in runner.run_together(jobs):
        counts = re.search(r"test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed", result.output)
        cases, passed, failed = counts.groups() if counts else ("?", "?", "?")
        table.add(name, cases, passed, failed, f"{result.seconds:.1f}")
        problems = [] if result.ok else failed_cases(result.output)
        for case in problems:
            part.fail(f"{name}: {case}")
        # Nothing that failed by name: a crash, perhaps after the last case, or no case at all.
        if result.why or cases in ("?", "0") or not (result.ok or problems):
            part.fail(f"{name}: {result.reason()}")


def failed_cases(output):
    """Names of doctest's failed test cases, in order, with the first failure of each."""
    found, name = {}, None
    for line in output.splitlines():
        if line.startswith("TEST CASE:"):
            name = line.removeprefix("TEST CASE:").strip()
        elif "ERROR" in line and name and name not in found:
            found[name] = line.strip()[:200]
    return [f"{name} ({error})" for name, error in found.items()]


def train_steps(settings, flags):
    """The command for steps on the built-in data set, six of them an epoch."""
    small = ["--width", 4, "--projector", "16,16"] if settings.small else []
    return [settings.program("apps/vicreg/train"), "--dataset", "synthetic", "--limit", 6 * settings.batch,
            "--batch-size", settings.batch, "--device", "cuda", "--workers", 1, *small, *flags]


def exact(part, settings, runner, until):
    """Six steps, two and then four, and six with blocking launches: the same bytes."""
    part.text("Checkpoints of six steps, of two steps resumed to six, and of six with blocking "
              "launches: their bytes must be the same.")
    table = part.table(["precision", "steps", "sha256 of the checkpoint"])

    def run_all(precision, flags):
        hashes = part.data[precision] = {}
        for name, env, stages in (("whole", {}, [6]), ("resumed", {}, [2, 6]),
                                  ("blocking", {"CUDA_LAUNCH_BLOCKING": "1"}, [6])):
            folder = settings.work / f"exact_{precision}_{name}"
            for steps in stages:
                command = [*train_steps(settings, flags), "--steps", steps, "--out", folder, "--resume"]
                result = runner.run(f"exact_{precision}_{name}_{steps}", command,
                                    until - time.monotonic(), env)
                if not result.ok:
                    part.fail(f"{precision}, {name}: {result.reason()}")
                    return
            hashes[name] = sha256(folder / "checkpoint.safetensors")
            shutil.rmtree(folder)
            table.add(precision, name, hashes[name][:16])
        if len(set(hashes.values())) > 1:
            part.fail(f"{precision}: the weights differ")

    for precision, flags in (("fp32", []), ("TF32", ["--tf32"]), ("bf16", ["--bf16"])):
        run_all(precision, flags)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def shards(part, settings, runner, until):
    """Six steps with a classifier beside, which must not change the losses; and in two shards, by two
    processes that share the GPU: the same losses twice, and once more without recorded steps. The first
    one is a whole batch's."""
    table = part.table(["training", "first loss", "last loss"])

    def losses_of(name, flags, launcher=(), recorded=True):
        """One a step; none where it failed."""
        folder = settings.work / f"shards_{name.replace(' ', '_')}"
        command = [*launcher, *train_steps(settings, flags), "--epochs", 1, "--out", folder]
        # Of several GPUs each process would take its own.
        env = {**MPI_ENVIRONMENT,
               "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
        if not recorded:
            env["GRADUS_CUDA_SYNC"] = "1"
        result = runner.run(folder.name, command, until - time.monotonic(), env)
        losses = [record["loss"] for record in json_lines_of(folder / "metrics.jsonl") if "loss" in record]
        shutil.rmtree(folder, ignore_errors=True)
        part.data[name] = losses
        if "built without MPI" in result.output:
            part.text("The programs were built without MPI: the shards are left out.")
            return []
        if not result.ok or not losses:
            part.fail(f"{name}: {result.reason()}")
            return []
        if recorded and "kernel by kernel" in result.output:
            part.fail(f"{name}: the steps were not recorded")
        table.add(name, losses[0], losses[-1])
        return losses

    alone = losses_of("alone", [])
    probe = losses_of("probe", ["--probe", "--test-limit", 2 * settings.batch])
    if alone and probe and alone != probe:
        part.fail("with a classifier beside, the losses differ")
    mpirun = shutil.which("mpirun.openmpi") or shutil.which("mpirun")
    if mpirun is None:
        part.text("mpirun is not on this machine: the shards are left out.")
        return "left out"
    first, second, eager = (losses_of(name, ["--shards", 2], [mpirun, "-n", 2], recorded)
                            for name, recorded in (("two shards", True), ("two shards again", True),
                                                   ("two shards eager", False)))
    if first and second and first != second:
        part.fail("in two shards, the losses differ from time to time")
    if first and eager and first != eager:
        part.fail("in two shards, replayed steps differ from those that are not")
    if alone and first and not abs(first[0] - alone[0]) < 1e-4 * abs(alone[0]):
        part.fail("in two shards, the first loss is not that of the whole batch")


def sanitizer(part, settings, runner, until):
    """memcheck, with races of stream-ordered memory, over eager steps; racecheck over kernels that
    share memory."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not os.path.exists(tool):
        part.text("compute-sanitizer is not on this machine: left out.")
        return "left out"
    step = settings.program("apps/bench/step")
    limit = until - time.monotonic()
    check = [tool, "--error-exitcode", 99]
    memory = [*check, "--tool", "memcheck", "--track-stream-ordered-races", "all"]
    jobs = {f"memcheck_{precision}": ([*memory, step, 2, 1, "--device", "cuda", "--eager", *flags], limit, {})
            for precision, flags in (("fp32", []), ("bf16", ["--bf16"]))}
    for name, (test, cases) in RACE_CHECKS.items():
        command = [*check, "--tool", "racecheck", settings.program(f"tests/{test}"), f"--test-case={cases}"]
        jobs[f"racecheck_{name}"] = (command, limit, {"GRADUS_TEST_DEVICE": "cuda"})
    table = part.table(["check", "result", "seconds"])
    for name, result in runner.run_together(jobs):
        summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", result.output)
        text = summary[-1] if summary and not result.why else result.reason()
        table.add(name, text, f"{result.seconds:.0f}")
        if not result.ok:
            part.fail(f"{name}: {text}")
