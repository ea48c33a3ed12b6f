# SPDX-License-Identifier: MIT
"""The native SchNet potential as an OpenMM force."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from openmm import unit

from . import _meanforce
from ._openmm import FloatArray, float_array, strip_units
from .beadforce import NetworkForce


class SchNetBlock(NamedTuple):
    """The parameters of one block of a SchNetForce, with H features, F filters and R radial functions."""

    lin1: FloatArray  # (F, H)
    V1: FloatArray  # (F, R)
    v1: FloatArray  # (F,)
    V2: FloatArray  # (F, F)
    v2: FloatArray  # (F,)
    lin2: FloatArray  # (H, F)
    l2: FloatArray  # (H,)
    lin3: FloatArray  # (H, H)
    l3: FloatArray  # (H,)


class SchNetForce(NetworkForce):
    r"""A many-body potential of beads that send each other messages through filters that depend on distance.

    .. math::

        y_i = E_{t_i}, \qquad W^b(r) = \left( V_2^b\, \sigma(V_1^b \phi(r) + v_1^b) + v_2^b \right) f(r)

        m_i = \sum_{j \ne i,\, r_{ij} < r_c} W^b(r_{ij}) * (L_1^b y_j), \qquad
        y_i \leftarrow y_i + L_3^b\, \sigma(L_2^b m_i + l_2^b) + l_3^b \quad (b = 0 \dots)

        U = \sum_i \left( \mathrm{NN}(y_i) + e_{t_i} \right)

    The radial basis :math:`\phi`, the cutoff function `f` and the activation :math:`\sigma` are chosen with
    `setRadialBasis`, `setCutoffFunction` and `setActivation` ("tanh", "silu" or "ssp", the shifted softplus); NN are
    the layers of `addLayer`, one network for all types.

    Filters are functions of one distance. `tabulateFilters` puts them on a grid of B-splines, which makes
    evaluation many times faster; the force is the exact gradient of the tabulated energy. Without a grid the filter
    network is evaluated for each pair. Arguments may carry units; plain numbers are in nm and kJ/mol.

    Parameters
    ----------
    num_types : int
        Number of bead types, T.
    cutoff : float or Quantity
        Cutoff distance (nm).
    features, filters : int
        H and F.
    blocks : int
        Number of blocks, 1 to 8.

    Raises
    ------
    ValueError
        If an argument is out of range; so do the methods.

    Notes
    -----
    ``SchNetForce.cast(force)`` turns the generic ``openmm.Force`` that OpenMM returns into this class. The network
    is SchNet, doi:10.1063/1.5019779, as coarse-grained models use it, doi:10.1063/5.0026133.
    """

    def __init__(self, num_types: int, cutoff: Any, features: int, filters: int, blocks: int) -> None:
        self._create(num_types, cutoff, features=int(features), filters=int(filters), blocks=int(blocks))

    def getNumFilters(self) -> int:
        """Return the number of filters F."""
        return int(_meanforce.SchNetForce_getNumFilters(self))

    def getNumBlocks(self) -> int:
        """Return the number of blocks."""
        return int(_meanforce.SchNetForce_getNumBlocks(self))

    def getNumRadialFunctions(self) -> int:
        """Return the number of radial functions R; 0 before setRadialBasis is called."""
        return int(_meanforce.SchNetForce_getNumRadialFunctions(self))

    def setRadialBasis(self, kind: str, exponent: Any, centers: Any, widths: ArrayLike | None = None) -> None:
        r"""Set the radial basis.

        Blocks whose filters had another number of radial functions must be set again.

        Parameters
        ----------
        kind : str
            ``"gaussian"``, :math:`e^{-\gamma (r - \mu_k)^2}`, or ``"expnormal"``,
            :math:`\frac12 (\cos(\pi r / r_c) + 1)\, e^{-\beta_k (e^{-\alpha r} - \mu_k)^2}`.
        exponent : float or Quantity
            :math:`\gamma` (1/nm^2) or :math:`\alpha` (1/nm).
        centers : array_like or Quantity, shape (R,)
            :math:`\mu`, in nm for "gaussian".
        widths : array_like, shape (R,), optional
            :math:`\beta`, for "expnormal" only.

        Raises
        ------
        ValueError
            If the kind is unknown, a shape is another, or a number is out of range.
        """
        gaussian = kind == "gaussian"
        exponent = strip_units(exponent, unit.nanometer ** (-2 if gaussian else -1))
        mu = float_array("centers", strip_units(centers, unit.nanometer), (None,), "(radial functions,)")
        beta = np.zeros(0) if widths is None else float_array("widths", widths, mu.shape, "(radial functions,)")
        _meanforce.SchNetForce_setRadialBasis(self, kind, float(exponent), mu, beta)

    def getRadialBasis(self) -> tuple[str, float, FloatArray, FloatArray | None]:
        """Return the kind, exponent, centers and widths, in nm; the widths of a "gaussian" basis are None."""
        kind, exponent, centers, widths = _meanforce.SchNetForce_getRadialBasis(self)
        return kind, exponent, centers, widths if kind == "expnormal" else None

    def setCutoffFunction(self, kind: str, lower: Any = 0.0) -> None:
        r"""Set the function f(r) that ends interactions; it is 0 beyond the cutoff. The default is "cosine".

        Parameters
        ----------
        kind : str
            ``"cosine"``, :math:`\frac12 (\cos(\pi r / r_c) + 1)`, or with :math:`r_0 > 0`
            :math:`\frac12 (1 - \cos(2 \pi (r - r_0) / (r_c - r_0)))` and 0 below :math:`r_0`;
            ``"shifted_cosine"``, :math:`\frac12 (\cos(\pi (r - r_0) / (r_c - r_0)) + 1)`, and 1 below :math:`r_0`;
            ``"polynomial"``, :math:`1 - 10 u^3 + 15 u^4 - 6 u^5` with :math:`u = r / r_c`.
        lower : float or Quantity
            :math:`r_0` (nm), 0 for "polynomial".

        Raises
        ------
        ValueError
            If the kind is unknown, or `lower` is negative or not less than the cutoff.
        """
        _meanforce.SchNetForce_setCutoffFunction(self, kind, float(strip_units(lower, unit.nanometer)))

    def getCutoffFunction(self) -> tuple[str, Any]:
        """Return the kind, and the lower end as a Quantity."""
        kind, lower = _meanforce.SchNetForce_getCutoffFunction(self)
        return kind, lower * unit.nanometer

    def setEmbeddings(self, embeddings: ArrayLike) -> None:
        """Set the features that beads of each type start with, shape (T, H).

        Raises
        ------
        ValueError
            If the shape is another.
        """
        shape = (self.getNumTypes(), self.getNumFeatures())
        array = float_array("embeddings", embeddings, shape, "(types, features)")
        _meanforce.SchNetForce_setEmbeddings(self, array)

    def getEmbeddings(self) -> FloatArray:
        """Return the embeddings, shape (T, H); (0, H) before they are set."""
        return _meanforce.SchNetForce_getEmbeddings(self)  # type: ignore[no-any-return]

    def setTypeEnergies(self, energies: Any) -> None:
        """Set the energy that a bead of each type adds (kJ/mol), shape (T,); the default is 0.

        Raises
        ------
        ValueError
            If the shape is another.
        """
        values = strip_units(energies, unit.kilojoule_per_mole)
        _meanforce.SchNetForce_setTypeEnergies(self, float_array("energies", values, (self.getNumTypes(),), "(types,)"))

    def getTypeEnergies(self) -> FloatArray:
        """Return the energy of each type, shape (T,), in kJ/mol."""
        return _meanforce.SchNetForce_getTypeEnergies(self)  # type: ignore[no-any-return]

    def setBlockParameters(
        self,
        index: int,
        lin1: ArrayLike,
        V1: ArrayLike,
        v1: ArrayLike,
        V2: ArrayLike,
        v2: ArrayLike,
        lin2: ArrayLike,
        l2: ArrayLike,
        lin3: ArrayLike,
        l3: ArrayLike,
    ) -> None:
        """Set the parameters of a block; setRadialBasis must have been called.

        Parameters
        ----------
        index : int
            The block, 0 to getNumBlocks() - 1.
        lin1 : array_like, shape (F, H)
        V1, v1 : array_like, shapes (F, R) and (F,)
        V2, v2 : array_like, shapes (F, F) and (F,)
        lin2, l2 : array_like, shapes (H, F) and (H,)
        lin3, l3 : array_like, shapes (H, H) and (H,)

        Raises
        ------
        ValueError
            If a shape is another, or there is no radial basis.
        """
        H, F, R = self.getNumFeatures(), self.getNumFilters(), self.getNumRadialFunctions()
        if R == 0:
            raise ValueError("setRadialBasis must be called before setBlockParameters")
        arrays = [
            float_array("lin1", lin1, (F, H), "(filters, features)"),
            float_array("V1", V1, (F, R), "(filters, radial functions)"),
            float_array("v1", v1, (F,), "(filters,)"),
            float_array("V2", V2, (F, F), "(filters, filters)"),
            float_array("v2", v2, (F,), "(filters,)"),
            float_array("lin2", lin2, (H, F), "(features, filters)"),
            float_array("l2", l2, (H,), "(features,)"),
            float_array("lin3", lin3, (H, H), "(features, features)"),
            float_array("l3", l3, (H,), "(features,)"),
        ]
        _meanforce.SchNetForce_setBlockParameters(self, int(index), *arrays)

    def getBlockParameters(self, index: int) -> SchNetBlock:
        """Return the parameters of a block; arrays of no size before they are set."""
        return SchNetBlock(*_meanforce.SchNetForce_getBlockParameters(self, int(index)))

    def setFilterGrid(self, degree: int, intervals: int) -> None:
        """Put the filters on a grid, on which they follow the parameters.

        Parameters
        ----------
        degree : int
            Of the B-splines, 3 or 5.
        intervals : int
            From 0 to the cutoff, at least 4; 0, the default, evaluates the filter network for each pair.

        Raises
        ------
        ValueError
            If one of them is out of range.
        """
        _meanforce.SchNetForce_setFilterGrid(self, int(degree), int(intervals))

    def getFilterGrid(self) -> tuple[int, int]:
        """Return the degree of the B-splines and the number of intervals, 0 if there is no grid."""
        return tuple(_meanforce.SchNetForce_getFilterGrid(self))

    def setFilterTables(self, degree: int, intervals: int, coefficients: ArrayLike) -> None:
        """Put the filters on the grid that a model was trained on.

        Parameters
        ----------
        degree, intervals : int
            As for setFilterGrid.
        coefficients : array_like, shape (blocks, intervals + degree, F)
            Of the B-splines. Row m has its centre at ``cutoff - (m - (degree - 1) / 2) * cutoff / intervals``.

        Raises
        ------
        ValueError
            If the shape is another, or a number is out of range.
        """
        shape = (self.getNumBlocks(), int(intervals) + int(degree), self.getNumFilters())
        array = float_array("coefficients", coefficients, shape, "(blocks, intervals + degree, filters)")
        _meanforce.SchNetForce_setFilterTables(self, int(degree), int(intervals), array)

    def getFilterTables(self) -> FloatArray:
        """Return the coefficients in use, shape (blocks, intervals + degree, F); (blocks, 0, F) without a grid."""
        return _meanforce.SchNetForce_getFilterTables(self)  # type: ignore[no-any-return]

    def tabulateFilters(self, tolerance: float = 1e-6, positions: Any = None, types: ArrayLike | None = None) -> float:
        """Find the coarsest grid whose error is below the tolerance, and put the filters on it.

        The error is measured against the filter network, in double precision, for random packings of all types with up
        to 50 neighbours per bead, and for `positions`. It is the largest that any of them has of the root mean square
        difference of forces, relative to their root mean square, of the energy's difference per bead, relative to that
        root mean square times the cutoff, and of the root mean square difference of the filters' derivatives, relative
        to theirs. All other parameters must have been set before.

        Parameters
        ----------
        tolerance : float
            The largest error allowed.
        positions : array_like or Quantity, shape (N, 3) or (frames, N, 3), optional
            Configurations (nm, not periodic) to measure too, such as those of a simulation.
        types : array_like of int, shape (N,), optional
            The types of their beads.

        Returns
        -------
        float
            The error, which getFilterError returns from now on.

        Raises
        ------
        ValueError
            If a parameter is missing, a shape is another, or the finest grid is not fine enough. Cutoff functions with
            a lower end bigger than 0 have a kink in their slope: use them without a grid, or with a larger tolerance.
        """
        if (positions is None) != (types is None):
            raise ValueError("positions and types must be given together")
        numbers = [] if types is None else [int(t) for t in np.asarray(types).reshape(-1)]
        coordinates = np.zeros((0, 0, 3))
        if positions is not None:
            array = np.asarray(strip_units(positions, unit.nanometer), dtype=float)
            array = array[None] if array.ndim == 2 else array
            coordinates = float_array("positions", array, (None, len(numbers), 3), "(frames, beads, 3)")
        return float(_meanforce.SchNetForce_tabulateFilters(self, float(tolerance), coordinates, numbers))

    def getFilterError(self) -> float | None:
        """Return what tabulateFilters measured; None if it was not called, or anything but NN has changed since."""
        return _meanforce.SchNetForce_getFilterError(self)  # type: ignore[no-any-return]

    def evaluateFilters(self, distances: Any) -> FloatArray:
        """Return the filters as their network gives them, whatever the grid, shape (blocks, P, F).

        Parameters
        ----------
        distances : array_like or Quantity, shape (P,)
            In nm.

        Raises
        ------
        ValueError
            If a block has no parameters.
        """
        r = float_array("distances", strip_units(distances, unit.nanometer), (None,), "(distances,)")
        return _meanforce.SchNetForce_evaluateFilters(self, r)  # type: ignore[no-any-return]
