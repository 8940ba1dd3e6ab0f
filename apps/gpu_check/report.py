"""The report of gpu_check: report.md and report.json, complete whenever the program stops."""
import json
import os
import time
from pathlib import Path


class Table:
    """Rows under a header. The report is saved with each row that is added."""

    def __init__(self, report, header, rows=()):
        self.report, self.header, self.rows = report, header, list(rows)

    def add(self, *cells):
        self.rows.append(cells)
        self.report.save()

    def __str__(self):
        rows = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


class Part:
    """One part of the check: its status and what it found."""

    def __init__(self, report, name, title):
        self.report, self.name, self.title = report, name, title
        self.status, self.problems, self.blocks, self.data = "running", [], [], {}
        self.begin, self.seconds = time.monotonic(), 0.0

    def text(self, block):
        """A paragraph, or whatever str() makes Markdown of."""
        self.blocks.append(block)
        self.report.save()
        return block

    def table(self, header, rows=()):
        return self.text(Table(self.report, header, rows))

    def fail(self, why):
        """A problem, in a line. The part goes on."""
        self.problems.append(why)
        print(f"  {self.name}: {why}", flush=True)
        self.report.save()

    def finish(self, status=None):
        self.seconds = time.monotonic() - self.begin
        self.status = status or ("failed" if self.problems else "ok")
        print(f"{self.name}: {self.status} ({self.seconds:.0f} s)", flush=True)
        self.report.save()


class Report:
    def __init__(self, folder: Path):
        self.folder, self.parts, self.facts = folder, [], {}
        folder.mkdir(parents=True, exist_ok=True)

    def part(self, name, title):
        self.parts.append(Part(self, name, title))
        self.save()
        return self.parts[-1]

    @property
    def ok(self):
        return all(part.status in ("ok", "left out") for part in self.parts)

    def save(self):
        write(self.folder / "report.json", json.dumps(self.as_json(), indent=1) + "\n")
        write(self.folder / "report.md", self.as_markdown())

    def as_json(self):
        return {"facts": self.facts,
                "parts": [{"name": p.name, "status": p.status, "seconds": round(p.seconds, 1),
                           "problems": p.problems, "data": p.data} for p in self.parts]}

    def as_markdown(self):
        lines = ["# gpu_check", ""]
        lines += [f"- {name}: {value}" for name, value in self.facts.items()]
        lines += ["", "| part | status | seconds |", "|---|---|---|"]
        lines += [f"| {p.title} | {p.status} | {p.seconds:.0f} |" for p in self.parts]
        for part in self.parts:
            lines += ["", f"## {part.title}: {part.status}", ""]
            lines += [f"- **{problem}**" for problem in part.problems]
            for block in part.blocks:
                lines += ["", str(block)]
        return "\n".join(lines) + "\n"


def write(path: Path, text):
    """A reader never sees half of it."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(temporary, path)
