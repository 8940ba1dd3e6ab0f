#!/usr/bin/env python3
"""Checks that what the README.md files say is still true.

usage: chapters.py SOURCE_DIR BUILD_DIR [FILE...]

- Every link to a file, and every path in backquotes that names one, leads somewhere.
- A code block under <!-- quote FILE --> stands in FILE line by line, but for its indentation; a line
  "// ..." leaves out any number of lines.
- Each command of a block under <!-- run --> succeeds, in an empty folder: build, alone or in
  build/..., is BUILD_DIR.
- The lines of a block under <!-- output --> follow each other in what the last of them printed.
"""

import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap

BLOCK = re.compile(r"<!-- (quote|run|output)(?: (\S+))? -->\n(?:\n)?```\w*\n(.*?)```", re.S)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
PATH = re.compile(r"`([\w./-]*[\w-]\.(?:h|cpp|cu|cuh|py|sh|md|inc|cmake|html))`")


class Chapter:
    """A README.md and what is wrong with it."""

    def __init__(self, path, source, build):
        self.path, self.source, self.build = path, source, build
        self.text = path.read_text()
        self.faults = []

    def fault(self, message):
        self.faults.append(f"{self.path.relative_to(self.source)}: {message}")

    def exists(self, target):
        """Whether a path means a file: from here, or from the top."""
        return (self.path.parent / target).exists() or (self.source / target).exists()

    def check_links(self):
        prose = re.sub("```.*?```", "", self.text, flags=re.S)
        for target in LINK.findall(prose):
            if "://" not in target and not (self.path.parent / target).exists():
                self.fault(f"a link leads nowhere: {target}")
        for target in PATH.findall(prose):
            named = "/" in target or (self.path.parent / target).exists()
            if named and not target.startswith("build/") and not self.exists(target):
                self.fault(f"there is no file {target}")

    def check_quote(self, name, block):
        file = self.source / name
        if not file.exists():
            return self.fault(f"a quote is of {name}, which is not there")
        lines = [line.strip() for line in file.read_text().splitlines()]
        at = 0
        for chunk in re.split(r"^\s*// \.\.\.\n", block, flags=re.M):
            wanted = [line.strip() for line in textwrap.dedent(chunk).splitlines()]
            places = range(at, len(lines) - len(wanted) + 1)
            at = next((i for i in places if lines[i : i + len(wanted)] == wanted), None)
            if at is None:
                return self.fault(f"{name} does not have these lines:\n{textwrap.indent(chunk, '    ')}")
            at += len(wanted)

    def run(self, block):
        """What the commands of a block print; None if one fails."""
        output = ""
        with tempfile.TemporaryDirectory() as folder:
            for line in block.splitlines():
                words = [re.sub("^build(?=/|$)", str(self.build), word) for word in shlex.split(line, comments=True)]
                if not words:
                    continue
                result = subprocess.run(words, cwd=folder, text=True, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, check=False)
                if result.returncode != 0:
                    self.fault(f"`{line}` fails with {result.returncode}:\n{textwrap.indent(result.stdout, '    ')}")
                    return None
                output += result.stdout
        return output

    def check_blocks(self):
        output = None
        blocks = BLOCK.findall(self.text)
        if len(blocks) != self.text.count("<!--"):
            self.fault("a comment is no marker with a code block below it")
        for kind, name, block in blocks:
            if kind == "quote":
                self.check_quote(name, block)
            elif kind == "run":
                output = self.run(block)
            elif output is None:
                self.fault(f"no command gives the output:\n{textwrap.indent(block, '    ')}")
            elif not block.strip() or block.strip() not in output:
                self.fault(f"this is not printed:\n{textwrap.indent(block, '    ')}    but\n{textwrap.indent(output, '    ')}")

    def check(self):
        self.check_links()
        self.check_blocks()
        return self.faults


def main():
    source, build = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    names = []  # of an archive, or without git, all files outside of the build
    if shutil.which("git"):
        names = subprocess.run(["git", "-C", source, "ls-files", "*README.md"], text=True, check=False,
                               stdout=subprocess.PIPE).stdout.split()
    files = [pathlib.Path(name).resolve() for name in sys.argv[3:]] or [source / name for name in names]
    files = files or sorted(p for p in source.rglob("README.md") if build not in p.parents)
    if not files:
        sys.exit(f"no README.md in {source}")
    faults = [fault for file in files for fault in Chapter(file, source, build).check()]
    print("\n".join(faults) or f"{len(files)} chapters are true")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
