# SPDX-License-Identifier: MIT
"""The iterative correction of a memory kernel for a coarse-grained model whose beads interact."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.interpolate
from numpy.typing import ArrayLike, NDArray

from ..memorykernel import MemoryKernel
from .correlations import Correlation, Diffusion, diffusion_coefficient, relative_l2_error, velocity_autocorrelation
from .fit import KernelFit, fit_kernel
from .volterra import volterra_kernel

Array = NDArray[np.float64]

FORMAT = "meanforce-kernel-iteration"
VERSION = 1

#: Where |G_i - a| is below this fraction of its largest value, the ratio of an update is drawn towards 1.
_REGULARISATION = 0.05
#: An update may change G by this factor at most.
_LARGEST_STEP = 5.0
#: Time scale of the weights tau/(t + tau) of a fit, in ps: short times decide the shape of the VACF.
_WEIGHT_TIME = 0.1


@dataclass(frozen=True)
class IterationRecord:
    """One run of the coarse-grained model.

    Attributes
    ----------
    friction : float
        Integrated friction of the bath in that run, in 1/ps (0: no bath).
    fit_error : float
        Relative L2 error of the passive fit to the integrated kernel that was asked for.
    diffusion, diffusion_error : float
        D of that run and its standard error, in nm^2/ps.
    vacf_error : float
        Relative L2 distance of its normalised VACF from the target, 0 to 2 ps or to the longest lag.
    """

    friction: float
    fit_error: float
    diffusion: float
    diffusion_error: float
    vacf_error: float


class KernelIteration:
    """Find the bath with which an interacting coarse-grained model moves like the atomistic one (IOMK).

    The beads of a coarse-grained model already rub against each other. So the kernel of the bath is neither that of the
    atomistic velocities nor the difference; it is corrected until the velocities of the model have the right kernel.
    With G(t) = int_0^t k, G_tgt that of the target, a that of the model without bath, G_i that of run i with the bath
    Gt_i, all obtained from velocity autocorrelations as if the beads were free::

        Gt_0 = G_tgt - a,       Gt_{i+1} = (G_tgt - a)/(G_i - a) Gt_i

    Each Gt is fitted by a passive kernel, so every bath obeys fluctuation-dissipation and leaves the structure as it
    is. Runs go like this::

        iteration = KernelIteration(target, no_bath)
        kernel = iteration.initial()
        for _ in range(3):
            kernel = iteration.update(velocity_autocorrelation(sample(kernel), dt, max_time))
        kernel = iteration.average()

    Parameters
    ----------
    target : Correlation
        Velocity autocorrelation of the mapped atomistic trajectory.
    no_bath : Correlation
        Velocity autocorrelation of the coarse-grained model without bath, or with a negligible friction.
    modes : int or (int, int)
        Exponentials and damped cosines of the bath, see `fit_kernel`.
    max_time : float, optional
        Longest lag used, in ps. Default: the longest lag that `target` and `no_bath` have.

    Notes
    -----
    V. Klippenstein, N. Wolf, N. F. A. van der Vegt, J. Chem. Theory Comput. 19, 1099 (2023),
    doi 10.1021/acs.jctc.2c01204.
    """

    def __init__(
        self,
        target: Correlation,
        no_bath: Correlation,
        modes: int | tuple[int, int] = (2, 3),
        max_time: float | None = None,
    ) -> None:
        for name, c in (("target", target), ("no_bath", no_bath)):
            if not isinstance(c, Correlation):
                raise TypeError(f"`{name}` must be a Correlation, got {type(c).__name__}")
        longest = min(target.t[-1], no_bath.t[-1]) if max_time is None else float(max_time)
        if not 3.0 * target.dt < longest <= target.t[-1] + 0.5 * target.dt:
            raise ValueError(
                f"`max_time` must be above three steps and at most the longest lag of `target`, "
                f"{target.t[-1]:.6g} ps, got {longest:.6g} ps"
            )
        self.target = target
        self.no_bath = no_bath
        self.modes = modes
        self._t: Array = target.t[target.t <= longest + 0.5 * target.dt]
        self._own = self._effective(no_bath, "no_bath")
        self._wanted = self._effective(target, "target") - self._own
        if self._wanted[-1] <= 0.0:
            raise ValueError(
                "the model without bath already has more friction than the target: at "
                f"{self._t[-1]:.4g} ps its integrated kernel is {self._own[-1]:.4g} 1/ps, "
                f"the target's {self._wanted[-1] + self._own[-1]:.4g} 1/ps. A bath can only slow a model down"
            )
        self._fits: list[KernelFit] = []
        self._history = [self._record(no_bath, MemoryKernel.white(0.0), 0.0)]

    # ---------------------------------------------------------------------------------------------- the loop

    @property
    def history(self) -> list[IterationRecord]:
        """The runs so far: the one without bath, then one for each kernel that was run."""
        return list(self._history)

    @property
    def kernels(self) -> list[MemoryKernel]:
        """The kernels so far: the first guess, then one for each update."""
        return [fit.kernel for fit in self._fits]

    def initial(self) -> MemoryKernel:
        """Return the first guess, which overshoots, and start over if there were updates."""
        self._fits = [self._fit(self._wanted, None)]
        self._history = self._history[:1]
        return self._fits[0].kernel

    def update(self, correlation: Correlation) -> MemoryKernel:
        """Return the corrected kernel.

        Parameters
        ----------
        correlation : Correlation
            Of a run with the latest kernel.

        Raises
        ------
        RuntimeError
            If there is no kernel yet that could have been run.
        """
        if not self._fits:
            raise RuntimeError("call `initial` first: an update needs a run with the kernel that it returns")
        last = self._fits[-1]
        gained = self._effective(correlation, "correlation") - self._own
        floor = (_REGULARISATION * np.abs(self._wanted).max()) ** 2
        ratio = (self._wanted * gained + floor) / (gained * gained + floor)
        ratio = np.clip(ratio, 1.0 / _LARGEST_STEP, _LARGEST_STEP)
        self._history.append(self._record(correlation, last.kernel, last.integrated_error))
        self._fits.append(self._fit(ratio * last.kernel.integrated(self._t), last.kernel))
        return self._fits[-1].kernel

    def average(self) -> MemoryKernel:
        """Return the mean of the last two corrected kernels, with the same number of modes.

        Raises
        ------
        RuntimeError
            If there were fewer than two updates.
        """
        if len(self._fits) < 3:
            raise RuntimeError(f"the average needs at least two updates, got {max(0, len(self._fits) - 1)}")
        mean = 0.5 * sum(fit.kernel.integrated(self._t) for fit in self._fits[-2:])
        return self._fit(np.asarray(mean), self._fits[-1].kernel).kernel

    def run(
        self, sample: Callable[[MemoryKernel], ArrayLike], dt: float, corrections: int = 3, blocks: int = 5
    ) -> MemoryKernel:
        """Do the whole loop and return the average of the last two kernels.

        Parameters
        ----------
        sample : callable
            Takes a kernel, runs the model with it and returns velocities of shape (F, N, 3), in nm/ps.
        dt : float
            Time between frames of these velocities, in ps.
        corrections : int
            Number of updates, at least 2.
        blocks : int
            Blocks of time origins, see `velocity_autocorrelation`.
        """
        if corrections < 2:
            raise ValueError(f"`corrections` must be at least 2, got {corrections}: the first guess overshoots")
        kernel = self.initial()
        for _ in range(corrections):
            kernel = self.update(velocity_autocorrelation(sample(kernel), dt, float(self._t[-1]), blocks))
        return self.average()

    # ---------------------------------------------------------------------------------------------- files

    def to_json(self) -> str:
        """Return everything needed to go on later, as text."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "modes": self.modes if isinstance(self.modes, int) else list(self.modes),
                "max_time": float(self._t[-1]),
                "target": _to_lists(self.target),
                "no_bath": _to_lists(self.no_bath),
                "fits": [
                    {
                        "drift": fit.kernel.drift.tolist(),
                        "error": fit.error,
                        "integrated_error": fit.integrated_error,
                    }
                    for fit in self._fits
                ],
                "history": [asdict(record) for record in self._history],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> KernelIteration:
        """Return the iteration that `to_json` wrote.

        Raises
        ------
        ValueError
            If the text is truncated, something else, or of a newer version.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"the text is not a kernel iteration, or is truncated: {error}") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"the text is not a kernel iteration: its format must be '{FORMAT}'")
        if data.get("version") != VERSION:
            raise ValueError(f"this meanforce reads version {VERSION} of '{FORMAT}', got {data.get('version')!r}")
        modes = data["modes"] if isinstance(data["modes"], int) else (int(data["modes"][0]), int(data["modes"][1]))
        iteration = cls(_from_lists(data["target"]), _from_lists(data["no_bath"]), modes, data["max_time"])
        iteration._fits = [
            KernelFit(MemoryKernel(fit["drift"]), fit["error"], fit["integrated_error"]) for fit in data["fits"]
        ]
        iteration._history = [IterationRecord(**record) for record in data["history"]]
        return iteration

    # ---------------------------------------------------------------------------------------------- helpers

    def _effective(self, correlation: Correlation, name: str) -> Array:
        """Return the integrated kernel of a correlation at the lags of the target."""
        if correlation.t[-1] < self._t[-1] - 1e-3 * self.target.dt:
            raise ValueError(
                f"`{name}` must reach {self._t[-1]:.6g} ps, but its longest lag is {correlation.t[-1]:.6g} ps"
            )
        table = volterra_kernel(correlation.t, correlation.value)
        return np.asarray(scipy.interpolate.CubicSpline(table.t, table.integrated)(self._t))

    def _fit(self, integrated: Array, start: MemoryKernel | None) -> KernelFit:
        weights = _WEIGHT_TIME / (self._t + _WEIGHT_TIME)
        return fit_kernel(self._t, integrated=integrated, modes=self.modes, weights=weights, start=start)

    def _record(self, correlation: Correlation, kernel: MemoryKernel, fit_error: float) -> IterationRecord:
        longest = float(self._t[-1])
        diffusion: Diffusion = diffusion_coefficient(correlation, to=longest)
        error = relative_l2_error(correlation, self.target, min(2.0, longest))
        return IterationRecord(kernel.friction, fit_error, diffusion.value, diffusion.standard_error, error)


def _to_lists(correlation: Correlation) -> dict[str, Any]:
    return {key: np.asarray(value).tolist() for key, value in asdict(correlation).items()}


def _from_lists(data: dict[str, Any]) -> Correlation:
    arrays = {key: np.asarray(value, dtype=np.float64) for key, value in data.items() if key != "zero"}
    return Correlation(zero=float(data["zero"]), **arrays)
