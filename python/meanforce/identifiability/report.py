# SPDX-License-Identifier: MIT
"""One page that says what the data determine, with plots. Matplotlib is imported when one is drawn."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from .design import Candidate
from .fisher import Identifiability
from .forces import NetworkSpectrum
from .profile import Profile


def write_report(
    path: str | Path,
    analysis: Identifiability | NetworkSpectrum,
    profiles: Sequence[Profile] = (),
    candidates: tuple[str, Sequence[Candidate]] | None = None,
    title: str = "What the data determine",
) -> None:
    """Write a self-contained HTML page.

    Parameters
    ----------
    path
        The file.
    analysis
        Of `analyse`, `analyse_forces`, `analyse_kernel` or `network_spectrum`.
    profiles
        Profile likelihoods to be plotted.
    candidates
        What `rank_candidates` returned.
    title
        Of the page.
    """
    from ..report import page

    plots = [_spectrum(analysis)]
    if isinstance(analysis, Identifiability) and len(analysis.eigenvalues) <= 40:
        plots.append(_directions(analysis))
    plots += [_profile(p) for p in profiles]
    body = f"<pre>{html.escape(str(analysis))}</pre>"
    if candidates is not None:
        direction, ranking = candidates
        rows = "".join(
            f"<tr><td>{html.escape(c.name)}</td><td>{c.standard_error:.3g}</td><td>{c.worst:.3g}</td><td>{c.ridges}</td></tr>"
            for c in ranking
        )
        body += (
            f"<h2>Further data</h2><p>Least known: {html.escape(direction)}. With one more experiment:</p><table>"
            "<tr><th>experiment</th><th>its standard error</th><th>the largest then</th><th>ridges left</th></tr>"
            f"{rows}</table>"
        )
    body += "".join(f"<figure>{text}</figure>" for text in plots)
    Path(path).write_text(page(title, body + f"<p>meanforce {__version__}</p>"), encoding="utf-8")


def _spectrum(analysis: Identifiability | NetworkSpectrum) -> str:
    from ..report import Curve, plot

    if isinstance(analysis, Identifiability):
        values = analysis.eigenvalues[: analysis.rank]
        curves = [Curve(np.arange(1, len(values) + 1), values, "eigenvalues", style="o-")]
    else:
        n = analysis.parameters.size
        low = np.maximum(analysis.bottom[::-1], 1e-30)
        curves = [
            Curve(np.arange(1, len(analysis.top) + 1), analysis.top, "largest", style="o"),
            Curve(np.arange(n - len(low) + 1, n + 1), low, "smallest: at most", style="v"),
        ]

    def scales(axes: Any) -> None:
        axes.set_yscale("log")
        if isinstance(analysis, NetworkSpectrum):
            axes.set_xscale("log")
        axes.axhline(1.0, color="0.6", linewidth=0.8)

    return plot("Fisher information", "direction, stiff to sloppy", "eigenvalue", curves, scales)


def _directions(analysis: Identifiability) -> str:
    from ..report import Curve, plot

    names = analysis.parameters.names
    chosen = [("stiffest", 0)] if analysis.rank else []
    if analysis.rank > 1:
        chosen.append(("sloppiest", analysis.rank - 1))
    x = np.arange(len(names))
    curves = [Curve(x, analysis.directions[:, k], label, style="o-") for label, k in chosen]
    curves += [Curve(x, v, f"ridge {k + 1}", style="s--") for k, v in enumerate(analysis.null_space.T[:3])]

    def ticks(axes: Any) -> None:
        axes.set_xticks(x[:: max(1, len(x) // 12)], names[:: max(1, len(x) // 12)], rotation=45, ha="right")
        axes.axhline(0.0, color="0.6", linewidth=0.8)

    return plot("Directions", "", "coefficient", curves, ticks)


def _profile(profile: Profile) -> str:
    from ..report import Curve, plot

    def level(axes: Any) -> None:
        axes.axhline(1.0, color="0.6", linewidth=0.8)
        axes.set_ylim(0.0, 10.0)

    curve = Curve(profile.values, profile.chi2, "least chi² above the best fit", style="o-")
    return plot(f"Profile likelihood of {profile.name}", profile.name, "Δχ²", [curve], level)
