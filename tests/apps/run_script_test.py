#!/usr/bin/env python3
"""run.sh where all is installed and built: stand-ins for the training, and a small evaluation by the
real linear_eval, of whose results the summary must tell.

usage: run_script_test.py FOLDER_OF_PROGRAMS
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "apps/vicreg/run.sh"

STAND_INS = {
    "tools/dpkg-query": "echo install ok installed",
    "tools/cmake": "exit 0",
    "apps/vicreg/train": r"""
until [ "$1" = --out ]; do shift || exit; done
mkdir -p "$2"
[ -e "$2/checkpoint.safetensors" ] || touch "$2/checkpoint.safetensors"
""",
    # The two encoders differ by the number of test images.
    "apps/vicreg/linear_eval": r"""
[ "$1" = --untrained ] && images=20 || images=30
until [ "$1" = --json ]; do shift || exit; done
exec "$LINEAR_EVAL" --untrained --width 4 --dataset synthetic --limit 50 --test-limit $images --protocol emp-ssl \
  --epochs 1 --knn --crops 0 --threads 1 --json "$2"
""",
}


class RunScriptTest(unittest.TestCase):
    def test_the_summary_tells_what_linear_eval_found(self):
        with tempfile.TemporaryDirectory() as name:
            build, out = Path(name), Path(name) / "out"
            for program, text in STAND_INS.items():
                (build / program).parent.mkdir(parents=True, exist_ok=True)
                (build / program).write_text(f"#!/bin/bash\n{text}")
                (build / program).chmod(0o755)
            environment = {**os.environ, "PATH": f"{build / 'tools'}:{os.environ['PATH']}", "GRADUS_BUILD": name,
                           "LINEAR_EVAL": str(PROGRAMS / "linear_eval")}

            def summary():
                process = subprocess.run([SCRIPT, "--data", build, "--out", out], env=environment,
                                         capture_output=True, text=True)
                self.assertEqual(process.returncode, 0, process.stdout + process.stderr)
                return process.stdout

            first = summary()
            for encoder, images in (("trained", 30), ("untrained", 20)):
                results = json.loads((out / f"{encoder}.json").read_text())
                self.assertEqual(results["linear"]["images"], images)
                cells = [f"{100 * found['top1']:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
                         for found in (results["linear"], results["knn"])
                         for low, high in [found["top1_interval_95"]]]
                self.assertIn(f"\n  {encoder + ' encoder':<17} {cells[0]:<31} {cells[1]}\n", first)

            (build / "apps/vicreg/linear_eval").unlink()  # run again, it reuses what is there
            self.assertEqual(summary(), first)


if __name__ == "__main__":
    PROGRAMS = Path(sys.argv.pop()).resolve()
    unittest.main()
