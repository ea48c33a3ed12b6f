# SPDX-License-Identifier: MIT
"""Show the results of a run: a table in the terminal, and one self-contained HTML file with plots."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from rich import box
from rich.markup import escape
from rich.table import Table

matplotlib.use("Agg")
from matplotlib import pyplot as plt


@dataclass(frozen=True)
class Quantity:
    """A column of the results table."""

    key: str
    label: str
    unit: str


#: A measured value and its standard error; None where there is none (NaN is not JSON).
Value = dict[str, float | None]


def measured(value: float, standard_error: float | None = None) -> Value:
    """Return a value with its standard error in the form kept in results.json; what is not finite becomes None."""

    def finite(number: float | None) -> float | None:
        return float(number) if number is not None and math.isfinite(number) else None

    return {"value": finite(value), "standard_error": None if finite(value) is None else finite(standard_error)}


def format_value(entry: Value | None) -> str:
    """Return "2.534(31)", a value with its standard error in units of the last digits; empty for None."""
    if entry is None or entry["value"] is None:
        return ""
    value, error = entry["value"], entry["standard_error"]
    if not error:
        return f"{value:.3g}"
    exponent = int(f"{error:.1e}".split("e")[1])  # once rounded: 0.996 is 1.0
    digits = max(0, 1 - exponent)
    rounded = f"{error:.{digits}f}"
    return f"{value:.{digits}f}({rounded if exponent >= 0 else rounded.replace('.', '').lstrip('0')})"


def terminal_table(title: str, quantities: Sequence[Quantity], systems: Sequence[dict[str, Any]]) -> Table:
    """Return the results as a table with one row for each quantity and one column for each system."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for system in systems:
        table.add_column(system["name"], justify="right", no_wrap=True)
    for quantity in quantities:
        label = quantity.label + (f" [{quantity.unit}]" if quantity.unit else "")
        table.add_row(escape(label), *(format_value(system["quantities"].get(quantity.key)) for system in systems))
    return table


@dataclass(frozen=True)
class Curve:
    """One line of a plot: x, y, an optional standard error of y, and its label."""

    x: Any
    y: Any
    label: str
    standard_error: Any = None
    style: str = "-"


def plot(
    title: str, x_label: str, y_label: str, curves: Sequence[Curve], adjust: Callable[[Any], None] | None = None
) -> str:
    """Return a plot as SVG text; `adjust` gets the axes for limits and scales."""
    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for curve in curves:
        (line,) = axes.plot(curve.x, curve.y, curve.style, label=curve.label, linewidth=1.4)
        if curve.standard_error is not None:
            low, high = curve.y - curve.standard_error, curve.y + curve.standard_error
            axes.fill_between(curve.x, low, high, color=line.get_color(), alpha=0.25, linewidth=0)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.legend(fontsize=8)
    if adjust is not None:
        adjust(axes)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { display: inline-block; margin: .5rem; } svg { max-width: 100%; height: auto; }
"""


def html_report(
    title: str,
    introduction: str,
    quantities: Sequence[Quantity],
    systems: Sequence[dict[str, Any]],
    plots: Sequence[str],
    facts: dict[str, Any],
) -> str:
    """Return a self-contained page: introduction, table, plots and the facts of the run (settings, versions, times)."""

    def row(cells: Sequence[str], tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head = row(["", *(system["name"] for system in systems)], "th")
    body = "".join(
        row(
            [
                quantity.label + (f" [{quantity.unit}]" if quantity.unit else ""),
                *(format_value(system["quantities"].get(quantity.key)) for system in systems),
            ]
        )
        for quantity in quantities
    )
    figures = "".join(f"<figure>{text}</figure>" for text in plots)
    details = "".join(row([key, str(value)]) for key, value in facts.items())
    body = (
        f"<p>{html.escape(introduction)}</p><table>{head}{body}</table>{figures}"
        f"<h2>How it was made</h2><table>{details}</table>"
    )
    return page(title, body)


def page(title: str, body: str) -> str:
    """Return a self-contained HTML page of a title and a body that is HTML already."""
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{body}</body></html>\n"
    )
