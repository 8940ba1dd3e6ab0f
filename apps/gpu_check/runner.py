"""Runs commands, each under a limit, and keeps what they print."""
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

LOG_BYTES = 200_000  # of a command's output are kept: the beginning and the end


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
    time.monotonic(): its whole process group is ended then."""

    def __init__(self, root: Path, logs: Path, deadline: float):
        self.root, self.logs, self.deadline = root, logs, deadline
        self.running = set()
        self.lock = threading.Lock()
        logs.mkdir(parents=True, exist_ok=True)

    def left(self):
        return self.deadline - time.monotonic()

    def run(self, name, command, limit, env=None) -> Result:
        """`limit` in seconds; the output goes to logs/NAME.log."""
        limit = min(limit, self.left())
        log = self.logs / f"{name}.log"
        if limit <= 0:
            return Result(None, 0, "", "no time was left for it")
        begin = time.monotonic()
        with open(log, "wb") as output:
            try:
                process = subprocess.Popen([str(part) for part in command], cwd=self.root,
                                           stdin=subprocess.DEVNULL, stdout=output,
                                           stderr=subprocess.STDOUT, start_new_session=True,
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
                end(process)
            with self.lock:
                self.running.discard(process)
        code = None if why else process.returncode
        return Result(code, time.monotonic() - begin, shorten(log), why)

    def run_together(self, jobs):
        """jobs: {name: (command, limit, env)}, all at once; {name: Result}."""
        results = {}

        def work(name, command, limit, env):
            results[name] = self.run(name, command, limit, env)

        threads = [threading.Thread(target=work, args=(name, *job)) for name, job in jobs.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {name: results[name] for name in jobs}

    def start(self, name, command, limit, env=None):
        """In the background: a function that waits for the Result."""
        results = []
        thread = threading.Thread(
            target=lambda: results.append(self.run(name, command, limit, env)), daemon=True)
        thread.start()

        def wait(seconds=None):
            thread.join(seconds)
            return results[0] if results else None

        return wait

    def end_all(self):
        with self.lock:
            processes = list(self.running)
        for process in processes:
            end(process, patience=0.5)


def end(process, patience=3.0):
    """Asks a process group to end, then ends it. One that hangs in the driver is left behind."""
    for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            pass
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    try:  # what the leader started may have outlived it
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def shorten(log: Path):
    """The text of a log, of which the middle is dropped where it is long; the file likewise."""
    data = log.read_bytes()
    if len(data) > LOG_BYTES:
        half = LOG_BYTES // 2
        data = data[:half] + b"\n[...]\n" + data[-half:]
        log.write_bytes(data)
    return data.decode(errors="replace")
