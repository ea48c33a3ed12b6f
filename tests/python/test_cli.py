# SPDX-License-Identifier: MIT
"""The command line: exit statuses, one-line errors, resumable stages."""

import json
import subprocess
import sys

import numpy as np
import openmm
import pytest
from rich.console import Console

from meanforce import __version__, cli
from meanforce.demo.stages import Run, part
from meanforce.report import Curve, Quantity, format_value, html_report, measured, plot, terminal_table


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
        (("demo", "water", "--molecules", "150"), "--molecules"),
        (("demo", "water", "--platform", "Abacus"), "platform 'Abacus' cannot be used"),
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


@pytest.mark.parametrize(("command", "goes_on"), [("check", False), ("demo", True)])
def test_only_a_stopped_demo_goes_on(monkeypatch, tmp_path, command, goes_on):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("meanforce.selfcheck.run_checks", stop)
    monkeypatch.setattr("meanforce.demo.water.run_demo", stop)
    arguments = ["check"] if command == "check" else ["demo", "water", "--output", str(tmp_path)]
    with cli.console.capture() as capture, pytest.raises(SystemExit) as status:
        cli.app(arguments)
    assert status.value.code == 130
    assert "Stopped." in capture.get()
    assert ("goes on" in capture.get()) is goes_on


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, ImportError, openmm.OpenMMException])
def test_mistakes_of_the_user_are_one_line(monkeypatch, error):
    def fail(console):
        raise error("see [this]")

    monkeypatch.setattr("meanforce.selfcheck.run_checks", fail)
    with cli.errors.capture() as capture, pytest.raises(SystemExit) as status:
        cli.app(["check"])
    assert status.value.code == 2
    assert capture.get() == "meanforce: see [this]\n"


@pytest.mark.parametrize("error", [TypeError, RuntimeError, KeyError, ZeroDivisionError])
def test_mistakes_of_ours_keep_their_traceback(monkeypatch, error):
    def fail(console):
        raise error("ours")

    monkeypatch.setattr("meanforce.selfcheck.run_checks", fail)
    with pytest.raises(error, match="ours"):
        cli.app(["check"])


def damage(state):
    return [
        state[: len(state) // 2],
        "",
        "[]",
        "\xff",
        json.dumps({"settings": {}}),
        json.dumps(json.loads(state) | {"stages": []}),
        json.dumps(json.loads(state) | {"stages": {"first": None}}),
        json.dumps(json.loads(state) | {"stages": {"first": {"seconds": 1.0}}}),
        json.dumps(json.loads(state) | {"settings": None}),
    ]


def test_a_damaged_state_is_named_and_the_way_out_told(tmp_path):
    quiet = Console(quiet=True)
    Run(tmp_path, {"seed": 1}, quiet).stage("first", "First", lambda advance: {})
    file = tmp_path / "stages.json"
    for content in damage(file.read_text()):
        file.write_text(content, encoding="latin-1")
        with pytest.raises(
            ValueError, match=r"stages\.json is damaged .*choose another --output, or remove that folder"
        ):
            Run(tmp_path, {"seed": 1}, quiet)


@pytest.mark.parametrize("program", ["meanforce", "openmm"])
def test_a_run_of_other_versions_is_not_continued(tmp_path, program):
    quiet = Console(quiet=True)
    Run(tmp_path, {"seed": 1}, quiet).stage("first", "First", lambda advance: {})
    file = tmp_path / "stages.json"
    state = json.loads(file.read_text())
    assert state["versions"] == {"meanforce": __version__, "openmm": openmm.Platform.getOpenMMVersion()}
    state["versions"][program] = "0.0.1"
    file.write_text(json.dumps(state))
    with pytest.raises(ValueError, match=rf"other versions \({program}: 0\.0\.1 -> .*choose another --output"):
        Run(tmp_path, {"seed": 1}, quiet)


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
    assert format_value(measured(1.0, 0.996)) == "1.0(1.0)"
    assert format_value(measured(1.0, 0.994)) == "1.00(99)"
    assert format_value(measured(1.0, 0.0996)) == "1.00(10)"
    assert format_value(measured(23.4, 9.96)) == "23(10)"
    assert format_value(measured(1234.0, 150.0)) == "1234(150)"
    assert format_value(measured(0.25)) == "0.25"
    assert format_value(measured(0.25, 0.0)) == "0.25"
    assert format_value(None) == ""
    assert format_value(measured(float("nan"), 0.1)) == ""


def test_values_that_are_not_finite_are_null_in_json():
    for number in (float("nan"), float("inf"), -float("inf"), np.float32("nan")):
        assert json.loads(json.dumps(measured(1.0, number), allow_nan=False)) == {"value": 1.0, "standard_error": None}
        assert json.loads(json.dumps(measured(number, 1.0), allow_nan=False)) == {"value": None, "standard_error": None}
    assert json.dumps(measured(np.float32(2.0), np.float64(0.5)), allow_nan=False)


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
