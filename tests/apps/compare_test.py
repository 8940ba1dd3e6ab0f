#!/usr/bin/env python3
"""compare.py beside a pretended PyTorch: its tables show the ratios of the times and sizes that stand-ins
for all programs print.

  compare_test.py [-v]
"""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "apps/bench/compare.py"

STAND_IN = r"""#!/bin/bash
# A stand-in for `step`, `conv`, the compiler and python3, as whose name and arguments it is called.
figures() { echo "{\"seconds\":$1,\"peak_resident\":$(($2 << 20)),\"imported\":$((128 << 20)),$3}"; }
layer() { echo "{\"layer\":\"$1\",\"count\":$2,\"forward\":$3,${4:+\"backward_input\":$4,}\"backward_weight\":$5}"; }
case "$(basename "$0") $*" in
  c++*) echo "c++ 13" ;;
  step*"--threads 1 "*) figures 0.09 512 '"busy_threads":1' ;;
  step*--forward*) figures 0.012 512 '"busy_threads":2' ;;
  step*--bf16*) figures 0.02 256 '"busy_threads":2' ;;
  step*) figures 0.06 512 '"busy_threads":1.6,"serial_share":0.25' ;;
  conv*) layer stem 1 1e-3 "" 2e-3; layer layer1 4 1e-3 1e-3 2e-3 ;;
  python3*"import numpy"*) printf '2.11.0 built with\nIntel MKL-DNN v3.7.1 (Git)\nCPU capability usage: AVX512\n' ;;
  python3*pytorch_layers*) layer stem 1 2e-3 "" 2e-3; layer layer1 4 2e-3 4e-3 1e-3 ;;
  python3*--forward*--channels-last*) figures 0.02 1024 '"n":0' ;;
  python3*--forward*) figures 0.01 1024 '"n":0' ;;
  python3*--channels-last*--bf16*) figures 0.025 2048 '"n":0' ;;
  python3*--channels-last*) figures 0.08 2048 '"n":0' ;;
  python3*) figures 0.1 1024 '"n":0' ;;
esac
"""

HEAD = "|  | Gradus | PyTorch 2.11.0, eager | ratio |\n| --- | ---: | ---: | ---: |\n"
TABLES = [
    HEAD + "| fp32, batch 64 | 0.060 s | 0.080 s (fp32, channels_last) | 0.75 |\n"
    "| bf16, batch 64 | 0.020 s | 0.025 s (bf16, channels_last) | 0.80 |\n",
    HEAD + "| fp32, batch 256, one view | 0.012 s | 0.010 s (fp32, NCHW) | 1.20 |\n",
    HEAD + "| fp32, batch 64 | 512 MiB | 1024 MiB (fp32, NCHW) | 0.50 |\n"
    "| bf16, batch 64 | 256 MiB | 1024 MiB (bf16, NCHW) | 0.25 |\n\n"
    "PyTorch 2.11.0's import alone takes 128 MiB of it.\n",
    "| stem | 1 | 1.00 | 0.50 | - | - | 2.00 | 1.00 |\n"
    "| layer1 | 4 | 1.00 | 0.50 | 1.00 | 0.25 | 2.00 | 2.00 |\n"
    "| sum over the network | 5 | 5.00 | 0.50 | 4.00 | 0.25 | 10.00 | 1.67 |\n\n"
    "All passes: 19.00 ms; ratio 0.59 to PyTorch 2.11.0.\n",
    "| step of batch 64, fp32: 1 thread | 0.090 s |\n"
    "| step of batch 64, fp32: 2 threads | 0.060 s |\n"
    "| serial code: outside parallel regions, of the step's time | 25.0 % |\n"
    "| speed-up | 1.50 |\n"
    "| serial share by Amdahl's law | 0.33 |\n"
    "| threads at work on average, of 2 | 1.60 |\n"
    "| serial share by idle threads, at most, of the step's time | 0.40 |\n"
    "| the same of one thread's time | 0.27 |\n",
    "| as our programs wait | 0.060 s | 0.060 s | 1.00 |\n",
]


class CompareTest(unittest.TestCase):
    def run_compare(self, *arguments, stand_in=STAND_IN, cache=True):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "apps/bench").mkdir(parents=True)
            for program in ("apps/bench/step", "apps/bench/conv", "c++", "python3"):
                (folder / program).write_text(stand_in)
                (folder / program).chmod(0o755)
            if cache:
                (folder / "CMakeCache.txt").write_text(f"CMAKE_CXX_COMPILER:FILEPATH={folder}/c++\n")
            return subprocess.run(
                [sys.executable, SCRIPT, "--build", folder, "--python", folder / "python3", "--threads", "2", *arguments],
                capture_output=True, text=True)

    def compare(self, *arguments):
        process = self.run_compare(*arguments)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process.stdout

    def test_ratios_are_our_figures_by_theirs(self):
        text = self.compare("--quick")
        for table in TABLES:
            self.assertIn(table, text)
        self.assertIn("PyTorch 2.11.0: oneDNN 3.7.1, CPU capability AVX512", text)

    def test_rounds_show_their_range(self):
        self.assertIn("| 0.012 s | 0.010 s (fp32, NCHW) | 1.20 (1.20 to 1.20) |",
                      self.compare("--rounds", "2", "--only", "forward"))

    def test_what_was_measured_is_there_when_a_later_part_fails(self):
        process = self.run_compare("--quick", stand_in=STAND_IN.replace("  step*--forward*)", "  step*--forward*) exit 3 ;;\n  never)"))
        self.assertNotEqual(process.returncode, 0)
        self.assertIn(TABLES[0], process.stdout)
        self.assertNotIn(TABLES[2], process.stdout)

    def test_a_folder_that_is_no_build_is_refused_first(self):
        process = self.run_compare("--quick", cache=False)
        self.assertNotEqual(process.returncode, 0)
        self.assertNotIn("|", process.stdout)
        self.assertIn("CMakeCache.txt", process.stderr)


if __name__ == "__main__":
    unittest.main()
