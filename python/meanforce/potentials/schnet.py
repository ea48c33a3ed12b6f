# SPDX-License-Identifier: MIT
"""SchNet: a network whose beads pass messages through filters that depend on distance."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modelfile import CUTOFF_FUNCTIONS, MAX_BLOCKS, RADIAL_BASES, SCHNET_ACTIVATIONS
from .base import NetworkPotential, double
from .splines import BSpline


def cutoff_function(distances: Tensor, cutoff: float, kind: str, lower: float = 0.0) -> Tensor:
    """Return the smooth factor f(r) that ends interactions at the cutoff; see SchNet for its kinds.

    Parameters
    ----------
    distances : Tensor
        r, in nm.
    cutoff, lower : float
        rc and r0, in nm.
    kind : str
        ``"cosine"``, ``"shifted_cosine"`` or ``"polynomial"``.
    """
    if kind == "polynomial":
        u = distances / cutoff
        values = 1.0 - u * u * u * (10.0 - u * (15.0 - 6.0 * u))
    elif kind == "shifted_cosine":
        phase = (distances - lower).clamp(min=0.0) * (math.pi / (cutoff - lower))
        values = 0.5 * (torch.cos(phase) + 1.0)
    elif lower > 0.0:
        phase = (distances - lower).clamp(min=0.0) * (2.0 * math.pi / (cutoff - lower))
        values = 0.5 * (1.0 - torch.cos(phase))
    else:
        values = 0.5 * (torch.cos(distances * (math.pi / cutoff)) + 1.0)
    return values * (distances < cutoff).to(values.dtype)


class GaussianBasis(torch.nn.Module):
    """Radial functions exp(-gamma (r - mu_k)^2), k = 1 .. R, with centres from 0 to the cutoff at first.

    Parameters
    ----------
    cutoff : float
        In nm.
    functions : int
        R, at least 2.
    """

    centers: Tensor

    def __init__(self, cutoff: float, functions: int) -> None:
        super().__init__()
        self.gamma = 0.5 * ((functions - 1) / cutoff) ** 2  # 1/nm^2: the width is the distance between two centres
        self.register_buffer("centers", torch.linspace(0.0, cutoff, functions))

    def forward(self, distances: Tensor) -> Tensor:
        """Return the functions, shape (P, R), at distances in nm, shape (P,)."""
        return torch.exp(-self.gamma * (distances.unsqueeze(1) - self.centers).square())


class ExpNormalBasis(torch.nn.Module):
    """Radial functions (cos(pi r / rc) + 1) / 2 exp(-beta_k (exp(-alpha r) - mu_k)^2), k = 1 .. R.

    They are PhysNet's (doi:10.1021/acs.jctc.9b00181), narrow where beads touch and wide where they are far apart.
    At first alpha = 5 / rc, the centres mu_k divide the range from exp(-5) to 1 that exp(-alpha r) runs through, and
    all beta_k are equal. A basis that begins at a lower cutoff r0 has the factor exp(alpha r0) in mu_k and beta_k.

    Parameters
    ----------
    cutoff : float
        In nm.
    functions : int
        R, at least 2.
    """

    centers: Tensor
    betas: Tensor

    def __init__(self, cutoff: float, functions: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.alpha = 5.0 / cutoff
        start = math.exp(-5.0)
        self.register_buffer("centers", torch.linspace(start, 1.0, functions))
        self.register_buffer("betas", torch.full((functions,), (2.0 / functions * (1.0 - start)) ** -2))

    def forward(self, distances: Tensor) -> Tensor:
        """Return the functions, shape (P, R), at distances in nm, shape (P,)."""
        r = distances.unsqueeze(1)
        shape = torch.exp(-self.betas * (torch.exp(-self.alpha * r) - self.centers).square())
        return cutoff_function(r, self.cutoff, "cosine") * shape


class Activation(torch.nn.Module):
    """One of ``"tanh"``, ``"ssp"``, log((exp(x) + 1) / 2), and ``"silu"``, x / (1 + exp(-x))."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, values: Tensor) -> Tensor:
        """Apply the function to each value."""
        if self.kind == "tanh":
            return torch.tanh(values)
        if self.kind == "ssp":
            return torch.nn.functional.softplus(values) - math.log(2.0)
        return torch.nn.functional.silu(values)


class InteractionBlock(torch.nn.Module):
    """One round of messages between beads; see SchNet."""

    def __init__(self, features: int, filters: int, radial_functions: int, activation: str) -> None:
        super().__init__()
        self.filter1 = torch.nn.Linear(radial_functions, filters)
        self.filter2 = torch.nn.Linear(filters, filters)
        self.lin1 = torch.nn.Linear(features, filters, bias=False)
        self.lin2 = torch.nn.Linear(filters, features)
        self.lin3 = torch.nn.Linear(features, features)
        self.activation = Activation(activation)
        for layer in (self.filter1, self.filter2, self.lin1, self.lin2, self.lin3):
            _initialize(layer)

    def filter_network(self, basis: Tensor) -> Tensor:
        """Return the filters without the cutoff function, shape (P, F), from radial functions, shape (P, R)."""
        return self.filter2(self.activation(self.filter1(basis)))  # type: ignore[no-any-return]

    def forward(self, states: Tensor, filters: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the change of the beads' states, shape (N, H)."""
        sent = self.lin1(states)
        messages = torch.zeros_like(sent)
        messages = messages.index_add(0, first, filters * sent.index_select(0, second))
        messages = messages.index_add(0, second, filters * sent.index_select(0, first))
        return self.lin3(self.activation(self.lin2(messages)))  # type: ignore[no-any-return]


class SchNet(NetworkPotential):
    """Many-body potential of beads that send each other messages through filters, some rounds one after another.

        y_i    = E[type_i]                                                        states, H features
        W^b(r) = ( V2^b act(V1^b phi(r) + v1^b) + v2^b ) f(r)                     filters of block b, F channels
        m_i    = sum_{j: r_ij < rc} W^b(r_ij) * (L1^b y_j)                        messages
        y_i   <- y_i + L3^b act(L2^b m_i + l2^b) + l3^b                           b = 1 .. blocks
        U      = sum_i ( NN(y_i) + e[type_i] )

    `act` is the activation everywhere and NN a dense network with a linear last layer. phi is one of

        "expnormal"        (cos(pi r / rc) + 1) / 2 exp(-beta_k (exp(-alpha r) - mu_k)^2)       see ExpNormalBasis
        "gaussian"         exp(-gamma (r - mu_k)^2)                                             see GaussianBasis

    and f one of, all 0 beyond rc,

        "cosine"           (cos(pi r / rc) + 1) / 2
                           with r0 > 0: (1 - cos(2 pi (r - r0) / (rc - r0))) / 2, and 0 below r0
        "shifted_cosine"   (cos(pi (r - r0) / (rc - r0)) + 1) / 2, and 1 below r0
        "polynomial"       1 - 10 u^3 + 15 u^4 - 6 u^5,  u = r / rc

    A bead sees others up to `blocks` times the cutoff away. The network knows distances only, so it cannot tell mirror
    images apart. It is SchNet (Schuett et al., doi:10.1063/1.5019779) as coarse-grained models use it (Husic et al.,
    doi:10.1063/5.0026133); docs/theory/schnet.md compares it with other programs' variants.

    Each pair's filters are computed once and serve both directions. With `filter_grid` they are cubic B-splines with
    rc / `filter_grid` between two knots, whose coefficients are the filters above at the splines' centres, but 0 for
    those that reach beyond the cutoff. Such a model is trained on its grid, which is faster, and runs as it is.

    Parameters
    ----------
    num_types : int
        T.
    cutoff : float
        rc, in nm.
    features, filters, blocks, radial_functions : int
        H, F, the number of blocks (1 to 8), and the number R >= 2 of radial functions.
    basis, activation, cutoff_function : str
        The activation is ``"tanh"``, ``"ssp"`` (shifted softplus) or ``"silu"``.
    cutoff_lower : float
        r0 of the cutoff function, in nm.
    hidden : sequence of int
        Widths of NN's hidden layers.
    filter_grid : int or None
        Number of intervals of the filters' grid, at least 4; None evaluates the filters at every distance.
    temperature_dependent : bool
        Whether NN has two outputs, so that U(x; T) = A(x) - T B(x) + C(T); see NetworkPotential. e belongs to A.

    Attributes
    ----------
    embedding : Parameter
        E, shape (T, H).
    type_energies : Parameter
        e, shape (T,), in kJ/mol, initially 0.
    blocks, layers : ModuleList
        InteractionBlock, and torch.nn.Linear of NN.
    """

    def __init__(
        self,
        num_types: int,
        cutoff: float,
        features: int = 128,
        filters: int = 128,
        blocks: int = 3,
        radial_functions: int = 64,
        basis: str = "expnormal",
        activation: str = "tanh",
        cutoff_function: str = "cosine",
        cutoff_lower: float = 0.0,
        hidden: Sequence[int] = (64,),
        filter_grid: int | None = None,
        temperature_dependent: bool = False,
    ) -> None:
        super().__init__(num_types, cutoff, temperature_dependent)
        _check_count("features", features)
        _check_count("filters", filters)
        _check_count("blocks", blocks, 1, MAX_BLOCKS)
        _check_count("radial_functions", radial_functions, 2)
        for width in hidden:
            _check_count("hidden", width)
        _check_choice("basis", basis, RADIAL_BASES)
        _check_choice("activation", activation, SCHNET_ACTIVATIONS)
        _check_choice("cutoff_function", cutoff_function, CUTOFF_FUNCTIONS)
        if not 0 <= cutoff_lower < cutoff:
            raise ValueError(f"cutoff_lower must lie between 0 and the cutoff, {cutoff} nm, got {cutoff_lower!r}")
        if cutoff_lower > 0 and cutoff_function == "polynomial":
            raise ValueError("cutoff_lower has no meaning for the cutoff function 'polynomial'")
        if filter_grid is not None:
            _check_count("filter_grid", filter_grid, 4)
        self.basis_kind, self.activation = basis, activation
        self.cutoff_kind, self.cutoff_lower = cutoff_function, float(cutoff_lower)
        self.filter_grid = filter_grid
        make_basis = ExpNormalBasis if basis == "expnormal" else GaussianBasis
        self.basis = make_basis(self.cutoff, radial_functions)
        self.grid = None if filter_grid is None else BSpline(self.cutoff, filter_grid)
        self.embedding = torch.nn.Parameter(torch.randn(self.num_types, features))
        self.type_energies = torch.nn.Parameter(torch.zeros(self.num_types))
        self.blocks = torch.nn.ModuleList(
            InteractionBlock(features, filters, radial_functions, activation) for _ in range(blocks)
        )
        widths = [features, *hidden, self.readouts]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(widths[i], widths[i + 1]) for i in range(len(widths) - 1))
        for number, layer in enumerate(self.layers):
            # The last layer is small: an untrained network adds next to nothing to a prior.
            _initialize(layer, 1.0 if number + 1 < len(self.layers) else 1e-2)
        self.output_activation = Activation(activation)

    def exact_filters(self, distances: Tensor) -> list[Tensor]:
        """Return the filters of each block as its network gives them, each of shape (P, F)."""
        basis = self.basis(distances)
        ending = cutoff_function(distances, self.cutoff, self.cutoff_kind, self.cutoff_lower).unsqueeze(1)
        filters: list[Tensor] = []
        for block in self.blocks:
            filters.append(block.filter_network(basis) * ending)  # type: ignore[operator]
        return filters

    def filter_tables(self, intervals: int) -> list[Tensor]:
        """Return the coefficients of the cubic B-splines for `filter_grid` = `intervals`, each of shape (G, F).

        Function k is centred at (k - 1) rc / G; see BSpline.
        """
        centers = torch.arange(-1, intervals - 1, dtype=self.embedding.dtype, device=self.embedding.device)
        return self.exact_filters(centers * (self.cutoff / intervals))

    def evaluate_filters(self, distances: Tensor) -> list[Tensor]:
        """Return the filters of each block, shape (P, F), from the grid if there is one."""
        grid = self.grid
        if grid is None:
            return self.exact_filters(distances)
        knot, weights = grid.local(distances)
        filters: list[Tensor] = []
        for table in self.filter_tables(grid.functions):
            # Four rows of the table side by side, so that a pair reads one row.
            padded = torch.nn.functional.pad(table, [0, 0, 0, 4])
            windows = torch.cat([padded[k : k + grid.functions + 1] for k in range(4)], 1)
            rows = windows.index_select(0, knot).view(distances.shape[0], 4, table.shape[1])
            filters.append(torch.bmm(weights.unsqueeze(1), rows).squeeze(1))
        return filters

    def bead_readouts(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        """Return the network's outputs, shape (N, readouts); see NetworkPotential.bead_readouts."""
        distances = displacements.to(self.embedding.dtype).square().sum(1).sqrt()
        filters = self.evaluate_filters(distances)
        states = self.embedding.index_select(0, types)
        for number, block in enumerate(self.blocks):
            states = states + block(states, filters[number], first, second)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            states = layer(states)
            if number < last:
                states = self.output_activation(states)
        energies = self.type_energies.index_select(0, types).unsqueeze(1)
        return states + torch.nn.functional.pad(energies, [0, self.readouts - 1])

    @torch.jit.unused
    def components(self) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Return the native description; see Potential.components."""
        tensors = {"embedding": double(self.embedding), "type_energies": double(self.type_energies)}
        for name, values in self.basis.named_buffers():
            tensors[f"radial.{name}"] = double(values)
        for part in ("blocks", "layers"):
            for name, values in getattr(self, part).named_parameters():
                tensors[f"{part}.{name}"] = double(values)
        if self.filter_grid is not None:
            for number, table in enumerate(self.filter_tables(self.filter_grid)):
                # From the cutoff inwards, beginning with the splines that reach beyond it.
                tensors[f"blocks.{number}.filter_table"] = np.pad(double(table)[::-1], ((3, 0), (0, 0)))
        block = self.blocks[0]
        assert isinstance(block, InteractionBlock)
        description = {
            "kind": "schnet",
            "cutoff": self.cutoff,
            "features": block.lin1.in_features,
            "filters": block.lin1.out_features,
            "blocks": len(self.blocks),
            "radial_functions": block.filter1.in_features,
            "basis": self.basis_kind,
            "basis_exponent": self.basis.alpha if isinstance(self.basis, ExpNormalBasis) else self.basis.gamma,
            "activation": self.activation,
            "cutoff_function": self.cutoff_kind,
            "cutoff_lower": self.cutoff_lower,
            "hidden": [layer.out_features for layer in self.layers[:-1]],
            "filter_grid": None if self.filter_grid is None else {"degree": 3, "intervals": self.filter_grid},
        }
        return [self.describe_readouts(description, tensors, f"layers.{len(self.layers) - 1}")]


def _initialize(layer: torch.nn.Module, gain: float = 1.0) -> None:
    assert isinstance(layer, torch.nn.Linear)
    torch.nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        torch.nn.init.zeros_(layer.bias)


def _check_count(name: str, value: int, least: int = 1, most: int | None = None) -> None:
    if int(value) != value or value < least or (most is not None and value > most):
        rule = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be an integer {rule}, got {value!r}")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
