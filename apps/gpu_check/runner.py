"""Runs commands, each under a limit, and keeps what they print."""
from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass
from pathlib import Path

LOG_BYTES = 200_000  # of a command's output are kept: the beginning and the end
GRACE = {signal.SIGTERM: 2.0, signal.SIGKILL: 1.5}  # seconds in which a command may end after each
PRCTL = ctypes.CDLL(None).prctl
PR_SET_PDEATHSIG = 1


@dataclass
class Result:
    """What became of a command. `code` is None where it could not be started or was cut."""
    code: int | None
    seconds: float
    output: str
    why: str = ""  # it is no result: could not be started, ran past its limit

    @property
    def ok(self):
        return self.code == 0

    def reason(self):
        """Why it failed, in a line: what the command itself said last, where it said anything."""
        said = [line for line in self.output.splitlines() if line.strip()]
        last = said[-1].strip()[:300] if said else "it printed nothing"
        return f"{self.why}; last line: {last}" if self.why else f"exit code {self.code}: {last}"


class Runner:
    """Starts commands in the folder `root`. No command outlives its limit, nor `deadline`, a time of
    time.monotonic(): its whole process group is ended then. What it printed is in the archive `logs`
    once it ends, until then in the folder `work`."""

    def __init__(self, root: Path, work: Path, logs: Path, deadline: float):
        self.root, self.work, self.logs, self.deadline = root, work, logs, deadline
        self.running = set()
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(32)  # more than ever run at the same time
        self.background = []

    def left(self):
        return self.deadline - time.monotonic()

    def run(self, name, command, limit, env=None) -> Result:
        """`limit` in seconds; the output goes to NAME.log."""
        limit = min(limit, self.left())
        log = self.work / f"{name}.log"
        if limit <= 0:
            return Result(None, 0, "", "no time was left for it")
        begin = time.monotonic()
        with open(log, "wb") as output:
            try:
                process = subprocess.Popen([str(part) for part in command], cwd=self.root,
                                           stdin=subprocess.DEVNULL, stdout=output,
                                           stderr=subprocess.STDOUT, preexec_fn=begin_process,
                                           env={**os.environ, **(env or {})})
            except OSError as error:
                return Result(None, 0, "", f"cannot start {command[0]}: {error.strerror}")
            with self.lock:
                self.running.add(process)
            why = ""
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                why = f"cut after {limit:.0f} s"
                end([process])
            with self.lock:
                self.running.discard(process)
        seconds = time.monotonic() - begin
        text = shorten(log)
        self.keep(log)
        return Result(None if why else process.returncode, seconds, text, why)

    def keep(self, log):
        """Moves a log into the archive; it stays where that cannot be written."""
        with self.lock:
            if log.exists():
                try:
                    with tarfile.open(self.logs, "a") as archive:
                        archive.add(log, log.name)
                    log.unlink()
                except (OSError, tarfile.TarError):
                    pass

    def start(self, name, command, limit, env=None):
        """In the background: the Future of its Result."""
        self.background.append(self.pool.submit(self.run, name, command, limit, env))
        return self.background[-1]

    def run_together(self, jobs):
        """jobs: {name: (command, limit, env)}, all at once; each name and its Result, as it ends."""
        names = {self.start(name, *job): name for name, job in jobs.items()}
        for future in as_completed(names):
            yield names[future], future.result()

    def end_all(self):
        """Ends what still runs, and keeps its logs."""
        with self.lock:
            processes = list(self.running)
        end(processes)
        wait(self.background, timeout=0.5)
        for log in self.work.glob("*.log"):
            self.keep(log)


def begin_process():
    """In a new process, before its program begins. It has a process group of its own, but no session
    of its own, so that whoever ends all of this program's session ends it, too; and it is killed where
    the thread that started it ends, as where this program is killed."""
    os.setpgid(0, 0)
    PRCTL(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def end(processes):
    """Asks process groups to end, then ends them, with all that their leaders started. One that hangs
    in the driver is left behind."""
    for sign, seconds in GRACE.items():
        for process in processes:
            try:
                os.killpg(process.pid, sign)
            except ProcessLookupError:
                pass
        until = time.monotonic() + seconds
        for process in processes:
            try:
                process.wait(max(0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass


def shorten(log: Path):
    """The text of a log, of which the middle is dropped where it is long; the file likewise."""
    data = log.read_bytes()
    if len(data) > LOG_BYTES:
        half = LOG_BYTES // 2
        data = data[:half] + b"\n[...]\n" + data[-half:]
        log.write_bytes(data)
    return data.decode(errors="replace")


def json_lines(text):
    """The JSON objects among the lines of a text, whose last line may have been cut."""
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                pass


def json_lines_of(path: Path):
    """Those of a file; none where there is no such file."""
    return json_lines(path.read_text(errors="replace")) if path.exists() else iter(())
