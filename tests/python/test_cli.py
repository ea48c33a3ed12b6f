# SPDX-License-Identifier: MIT
"""The command line: exit statuses, one-line errors, resumable stages."""

import json
import subprocess
import sys

import pytest
from rich.console import Console

from meanforce.demo.report import Curve, Quantity, format_value, html_report, measured, plot, terminal_table
from meanforce.demo.stages import Run, part


def meanforce(*arguments):
    return subprocess.run([sys.executable, "-m", "meanforce", *arguments], capture_output=True, text=True, timeout=300)


def test_check_compares_all_platforms():
    run = meanforce("check")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Reference" in run.stdout
    assert "agrees" in run.stdout
    assert "disagrees" not in run.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demo", "water", "--molecules", "150"), "216 molecules"),
        (("demo", "water", "--platform", "Abacus"), "no platform 'Abacus'"),
        (("demo", "water", "--seed", "0"), "--seed"),
        (("demo", "water", "--output", "/dev/null/run"), "/dev/null/run"),
        (("demo", "wine"), "No such command"),
    ],
)
def test_mistakes_give_one_clear_error(arguments, message, tmp_path):
    output = () if "--output" in arguments else ("--output", str(tmp_path / "run"))
    run = meanforce(*arguments, *(output if arguments[1] == "water" else ()))
    assert run.returncode == 2
    assert message in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr + run.stdout


def test_stages_are_done_once_and_killed_ones_again(tmp_path):
    calls = []

    def work(advance):
        calls.append("work")
        advance(0.5)
        return {"answer": 42}

    def killed(advance):
        raise KeyboardInterrupt

    quiet = Console(quiet=True)
    run = Run(tmp_path, {"seed": 1}, quiet)
    assert run.stage("first", "First", work) == {"answer": 42}
    with pytest.raises(KeyboardInterrupt):
        run.stage("second", "Second", killed)
    again = Run(tmp_path, {"seed": 1}, quiet)
    assert again.stage("first", "First", work) == {"answer": 42}
    assert calls == ["work"]
    assert again.stage("second", "Second", work) == {"answer": 42}
    assert set(again.seconds) == {"first", "second"}
    with pytest.raises(ValueError, match="seed: 1 -> 2"):
        Run(tmp_path, {"seed": 2}, quiet)


def test_part_of_a_progress_bar():
    seen = []
    part(seen.append, 0.25, 0.75)(0.5)
    assert seen == [0.5]


def test_values_are_rounded_to_their_error():
    assert format_value(measured(2.5341, 0.0312)) == "2.534(31)"
    assert format_value(measured(15.2, 1.6)) == "15.2(1.6)"
    assert format_value(measured(0.27552, 0.00076)) == "0.27552(76)"
    assert format_value(measured(0.25)) == "0.25"
    assert format_value(None) == ""
    assert json.loads(json.dumps(measured(1.0, float("nan")))) == {"value": 1.0, "standard_error": None}


def test_report_is_self_contained():
    quantities = [Quantity("d", "diffusion <D>", "nm^2/ps")]
    systems = [{"key": "a", "name": "water", "quantities": {"d": measured(1.0, 0.1)}}]
    figure = plot("title", "x", "y", [Curve([0.0, 1.0], [1.0, 2.0], "line")])
    text = html_report("T", "I", quantities, systems, [figure], {"seed": 1})
    assert "diffusion &lt;D&gt; [nm^2/ps]" in text
    assert "1.00(10)" in text
    assert "<svg" in text
    assert "http-equiv" not in text
    assert "src=" not in text
    console = Console(width=100, record=True, quiet=True)
    console.print(terminal_table("T", quantities, systems))
