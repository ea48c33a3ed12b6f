# SPDX-License-Identifier: MIT
"""What the README and the examples show is run here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(arguments, folder):
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)


def test_readme_program_prints_equipartition(tmp_path):
    assert len(BLOCKS) == 2  # the second needs the demo's files: tests/check_demo.py runs it
    result = run(["-c", BLOCKS[0]], tmp_path)
    assert result.returncode == 0, result.stderr
    found, expected = (float(x) for x in re.findall(r"= ([\d.]+)", result.stdout))
    assert abs(found / expected - 1) < 0.03  # 5 standard errors with a fresh seed


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    result = run([str(path)], tmp_path)
    assert result.returncode == 0, result.stderr
