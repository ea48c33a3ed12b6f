# SPDX-License-Identifier: MIT
"""Check the numbers of a `meanforce demo water --quick` run, loosely: with so little data they scatter.

usage: check_demo.py FOLDER
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from meanforce import CGPotential, MemoryKernel

README = Path(__file__).resolve().parents[1] / "README.md"


def readme_program_runs(folder: Path) -> bool:
    """Run the README's second program on the model that the demo left."""
    program = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[1]
    result = subprocess.run([sys.executable, "-c", program.replace("meanforce-demo", str(folder))], timeout=300)
    return result.returncode == 0


def main(folder: Path) -> int:
    results = json.loads((folder / "results.json").read_text())
    systems = {system["key"]: system["quantities"] for system in results["systems"]}

    def value(system: str, quantity: str) -> float:
        return systems[system][quantity]["value"]

    atomistic_diffusion = value("atomistic", "diffusion")
    checks = {
        "the atomistic first peak is water's (2.8 to 3.3 at 0.27 to 0.285 nm)": 2.8
        < value("atomistic", "peak_height")
        < 3.3
        and 0.27 < value("atomistic", "peak_place") < 0.285,
        "atomistic diffusion is SPC/E's (1.8 to 3.3)": 1.8 < atomistic_diffusion < 3.3,
        "the network explains more of the force than the pair prior": results["force_matching"]["unexplained"]
        < results["force_matching"]["unexplained_prior"] - 0.02,
        "g(r) of the final model is within 0.04": value("GLE", "rdf_error") < 0.04,
        "the angle distribution is within 0.10, and better than the pair prior's": value("GLE", "angle_error") < 0.10
        and value("GLE", "angle_error") < value("prior alone", "angle_error"),
        "without a bath the beads diffuse at least 3 times too fast": value("weak friction", "diffusion")
        > 3 * atomistic_diffusion,
        "with memory they diffuse within 40 %": abs(value("GLE", "diffusion") / atomistic_diffusion - 1) < 0.4,
        "memory repairs the VACF (error below 0.15, a quarter of that without)": value("GLE", "vacf_error")
        < min(0.15, 0.25 * value("weak friction", "vacf_error")),
        "the bath leaves the structure alone (first peak within 0.3)": abs(
            value("GLE", "peak_height") - value("weak friction", "peak_height")
        )
        < 0.3,
        "model.pt and kernel.json load": CGPotential(folder / "model.pt").cutoff > 0
        and MemoryKernel.load(folder / "kernel.json").friction > 0
        and MemoryKernel.load(folder / "model.pt").friction > 0,
        "the README's program runs the model": readme_program_runs(folder),
        "report.html is self-contained": "<svg" in (html := (folder / "report.html").read_text())
        and "src=" not in html
        and "<link" not in html,
    }
    for text, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {text}")
    print(f"{sum(checks.values())} passed, {len(checks) - sum(checks.values())} failed")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
