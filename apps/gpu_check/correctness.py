"""The parts of gpu_check that show whether the programs are right on this GPU."""
import hashlib
import os
import re
import shutil
import time

SUITES = ["tensor", "autograd", "nn", "optim", "data", "cuda", "apps"]
# What compute-sanitizer's racecheck looks at: kernels that share memory between threads.
RACE_TESTS = {"test_tensor": "*norm*,*sum*,*max*,*softmax*,*reduc*", "test_optim": "*adam*,*lars*"}


def start(part, settings, runner, until):
    """What machine this is, and whether the smallest run works."""
    facts = part.report.facts
    smi = runner.run("nvidia-smi", ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,"
                                    "clocks.max.sm,clocks.max.mem", "--format=csv,noheader"], 15)
    if not smi.ok:
        part.fail(f"nvidia-smi does not work: {smi.reason()}")
        return
    facts["GPU, driver, memory, clocks"] = smi.output.strip()
    facts["cores"] = os.cpu_count()
    libraries = runner.run("ldd", ["ldd", settings.program("apps/vicreg/train")], 10)
    missing = re.findall(r"(\S+) => not found", libraries.output)
    if missing:
        part.fail(f"shared libraries are missing: {', '.join(missing)}; source env.sh first, or install "
                  "them")
        return
    run = runner.run("first_steps", [settings.program("apps/bench/step"), 4, 2, "--device", "cuda"],
                     until - time.monotonic())
    if not run.ok:
        part.fail(f"a step of 8 images does not run: {run.reason()}")
        return
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
    rows = []
    for name, result in runner.run_together(jobs).items():
        counts = re.search(r"test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed", result.output)
        cases, passed, failed = counts.groups() if counts else ("?", "?", "?")
        rows.append([name, cases, passed, failed, f"{result.seconds:.1f}"])
        problems = [] if result.ok else failed_cases(result.output)
        for case in problems:
            part.fail(f"{name}: {case}")
        # Nothing that failed by name: a crash, perhaps after the last case, or no case at all.
        if result.why or cases in ("?", "0") or not (result.ok or problems):
            part.fail(f"{name}: {result.reason()}")
    part.data["suites"] = rows
    part.table(["suite", "cases", "passed", "failed", "seconds"], rows)


def failed_cases(output):
    """Names of doctest's failed test cases, in order, with the first failure of each."""
    found, name = {}, None
    for line in output.splitlines():
        if line.startswith("TEST CASE:"):
            name = line.removeprefix("TEST CASE:").strip()
        elif "ERROR" in line and name and name not in found:
            found[name] = line.strip()[:200]
    return [f"{name} ({error})" for name, error in found.items()]


def exact(part, settings, runner, until):
    """Six steps, two and then four, and six with blocking launches: the same bytes."""
    train = settings.program("apps/vicreg/train")
    common = ["--dataset", "synthetic", "--limit", 6 * settings.batch, "--batch-size", settings.batch,
              "--device", "cuda", "--workers", 1]
    if settings.small:
        common += ["--width", 4, "--projector", "16,16"]

    def run_all(precision, flags):
        hashes = {}
        for name, env, stages in (("whole", {}, [6]), ("resumed", {}, [2, 6]),
                                  ("blocking", {"CUDA_LAUNCH_BLOCKING": "1"}, [6])):
            folder = settings.work / f"exact_{precision}_{name}"
            for steps in stages:
                command = [train, *common, *flags, "--steps", steps, "--out", folder, "--resume"]
                result = runner.run(f"exact_{precision}_{name}_{steps}", command,
                                    until - time.monotonic(), env)
                if not result.ok:
                    part.fail(f"{precision}, {name}: {result.reason()}")
                    return hashes
            hashes[name] = sha256(folder / "checkpoint.safetensors")
            shutil.rmtree(folder)
        return hashes

    rows = []
    for precision, flags in (("fp32", []), ("TF32", ["--tf32"]), ("bf16", ["--bf16"])):
        hashes = run_all(precision, flags)
        same = len(hashes) == 3 and len(set(hashes.values())) == 1
        if len(hashes) == 3 and not same:
            part.fail(f"{precision}: the weights differ")
        rows.append([precision, "same bytes" if same else "no", *(h[:16] for h in hashes.values())])
        part.data[precision] = hashes
    part.text("Checkpoints of six steps, of two steps resumed to six, and of six with blocking "
              "launches.")
    part.table(["precision", "6 = 2 + 4 = 6 blocking", "sha256 of the checkpoints", "", ""],
               [row + [""] * (5 - len(row)) for row in rows])


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
    for test, cases in RACE_TESTS.items():
        command = [*check, "--tool", "racecheck", settings.program(f"tests/{test}"), f"--test-case={cases}"]
        jobs[f"racecheck_{test}"] = (command, limit, {"GRADUS_TEST_DEVICE": "cuda"})
    rows = []
    for name, result in runner.run_together(jobs).items():
        summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", result.output)
        rows.append([name, summary[-1] if summary else result.reason(), f"{result.seconds:.0f}"])
        if not result.ok:
            part.fail(f"{name}: {rows[-1][1]}")
    part.table(["check", "result", "seconds"], rows)
