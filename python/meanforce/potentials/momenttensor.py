# SPDX-License-Identifier: MIT
"""A many-body potential of moments of each bead's neighbourhood."""

import itertools
from collections.abc import Callable, Sequence
from math import pi, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _meanforce
from ..modelfile import ACTIVATIONS, MAX_L
from .base import NetworkPotential, double
from .splines import BSpline


def spherical_harmonics(directions: Tensor, max_l: int) -> Tensor:
    """Return real spherical harmonics up to degree `max_l` <= 4, as polynomials of unit vectors.

    They are normalised so that sum_m Y_lm(u) Y_lm(u') = P_l(u . u'), a Legendre polynomial: Y_00 = 1, Y_1 = (y, z, x).

    Parameters
    ----------
    directions : Tensor
        Shape (P, 3), unit vectors.
    max_l : int
        L.

    Returns
    -------
    Tensor
        Shape (P, (L + 1)^2); column l^2 + l + m holds Y_lm, m = -l .. l.
    """
    x, y, z = directions.t().contiguous().unbind(0)
    columns = [torch.ones_like(x)]
    if max_l >= 1:
        columns += [y, z, x]
    if max_l >= 2:
        xx, yy, zz, xy = x * x, y * y, z * z, x * y
        difference = xx - yy
        columns += [
            sqrt(3.0) * xy,
            sqrt(3.0) * y * z,
            1.5 * zz - 0.5,
            sqrt(3.0) * x * z,
            sqrt(0.75) * difference,
        ]
        if max_l >= 3:
            cubic_y, cubic_x = y * (3.0 * xx - yy), x * (xx - 3.0 * yy)
            five = sqrt(0.375) * (5.0 * zz - 1.0)
            columns += [
                sqrt(0.625) * cubic_y,
                sqrt(15.0) * xy * z,
                five * y,
                z * (2.5 * zz - 1.5),
                five * x,
                sqrt(3.75) * difference * z,
                sqrt(0.625) * cubic_x,
            ]
            if max_l >= 4:
                seven_one = 7.0 * zz - 1.0
                seven_three = sqrt(0.625) * z * (7.0 * zz - 3.0)
                columns += [
                    sqrt(8.75) * xy * difference,
                    sqrt(4.375) * z * cubic_y,
                    sqrt(1.25) * xy * seven_one,
                    seven_three * y,
                    zz * (4.375 * zz - 3.75) + 0.375,
                    seven_three * x,
                    sqrt(0.3125) * difference * seven_one,
                    sqrt(4.375) * z * cubic_x,
                    sqrt(35.0 / 64.0) * (x * cubic_x - y * cubic_y),
                ]
    return torch.stack(columns, 1)


def neighbor_rows(first: Tensor, second: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Arrange a half list of pairs as one padded row of pairs for each bead.

    Parameters
    ----------
    first, second : Tensor
        Shape (P,), int64.
    count : int
        N, the number of beads.

    Returns
    -------
    pairs : Tensor
        Shape (N, K), int64: the pairs that bead i belongs to; 0 where there is none.
    signs : Tensor
        Shape (N, K), int64: 1 if bead i is first in the pair, -1 if it is second, 0 where there is no pair.
    """
    number = first.shape[0]
    owner, order = torch.cat([first, second]).sort(stable=True)
    lengths = torch.bincount(owner, minlength=count)
    longest = int(lengths.max()) if count > 0 else 0
    starts = lengths.cumsum(0) - lengths
    place = owner * longest + torch.arange(owner.shape[0], device=owner.device) - starts.index_select(0, owner)
    reversed_pair = (order >= number).to(torch.long)
    pairs = torch.zeros(count * longest, dtype=torch.long, device=owner.device)
    signs = torch.zeros(count * longest, dtype=torch.long, device=owner.device)
    pairs = pairs.scatter(0, place, order - number * reversed_pair)
    signs = signs.scatter(0, place, 1 - 2 * reversed_pair)
    return pairs.view(count, longest), signs.view(count, longest)


def products(
    max_l: int, channels: int, order: int = 3, odd: bool = False
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """List products of moments that tell more about a neighbourhood than the plain features of MomentTensor.

    They are the scalar products of neighbouring channels for l = 0 .. L; with `order` 3 the true scalars of three
    moments of one channel, l >= 1; and with `odd` the pseudoscalars of three moments, which change sign in a mirror,
    with the channels c, c + 1, .. for factors of the same degree. Each adds F features.

    Parameters
    ----------
    max_l : int
        L.
    channels : int
        F.
    order : int
        Largest number of moments in a true scalar, 2 or 3.
    odd : bool
        Whether to list pseudoscalars. A model without them can't tell a molecule from its mirror image.

    Returns
    -------
    list
        Of pairs (degrees, shifts), for MomentTensor.

    Raises
    ------
    ValueError
        If `order` is neither 2 nor 3, or no pseudoscalar exists for so small an L and so few channels.
    """
    if order not in (2, 3):
        raise ValueError(f"order must be 2 or 3, got {order!r}")
    chosen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    if channels > 1:
        chosen += [((degree, degree), (0, 1)) for degree in range(max_l + 1)]
    pseudoscalars: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for degrees in itertools.combinations_with_replacement(range(1, max_l + 1), 3):
        if degrees[2] > degrees[0] + degrees[1]:
            continue
        if sum(degrees) % 2 == 0:
            if order == 3:
                chosen.append((degrees, (0, 0, 0)))
            continue
        second = int(degrees[1] == degrees[0])
        shifts = (0, second, second + 1 if degrees[2] == degrees[1] else 0)
        if max(shifts) < channels:
            pseudoscalars.append((degrees, shifts))
    if odd and not pseudoscalars:
        raise ValueError(f"with max_l = {max_l} and {channels} channels every product is the same in a mirror")
    return chosen + (pseudoscalars if odd else [])


class TypedLinear(torch.nn.Module):
    """A dense layer for each bead type: weight (T, out, in), bias (T, out)."""

    def __init__(self, num_types: int, inputs: int, outputs: int, gain: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(num_types, outputs, inputs) * (gain / sqrt(inputs)))
        self.bias = torch.nn.Parameter(torch.zeros(num_types, outputs))

    def forward(self, values: Tensor, bead_type: int) -> Tensor:
        """Apply the layer of one bead type to `values`, shape (B, in)."""
        return torch.nn.functional.linear(values, self.weight[bead_type], self.bias[bead_type])


class MomentTensor(NetworkPotential):
    """Many-body potential of rotation-invariant products of moments, strictly local within one cutoff.

        W_lc(r)   = sum_k C[k][l][c] B_k(r)                            radial filters, B-splines (see BSpline)
        M_ilmc    = sum_{j: r_ij < rc} W_lc(r_ij) a_c(type_j) Y_lm(rhat_ij)         rhat from i to j
        x_i       = ( M_i00c ; sum_m M_ilmc^2 for l = 0 .. L ; products )      (L + 2 + number of products) F features
        U         = sum_i NN_{type_i}( (x_i - feature_shift) / feature_scale )

    Y_lm are real spherical harmonics with Y_00 = 1 (see spherical_harmonics), l = 0 .. L, c = 1 .. F. The networks have
    one set of weights for each bead type, biases everywhere, and a linear last layer.

    A product couples two or three moments, also of different degrees and channels, to a number that no rotation
    changes: sum_m M_lm,c M_lm,c+s, or sum K_m1m2m3 M_l1m1,c M_l2m2,c+s2 M_l3m3,c+s3, channels counted modulo F. K is
    the Wigner 3j symbol in the basis of the Y, normalised to sum K^2 = 1, its first entry positive. If l1 + l2 + l3 is
    odd the product changes its sign in a mirror, and the potential can tell a molecule from its mirror image.

    The family is that of moment tensor potentials (Shapeev, doi:10.1137/15M1054183) and of the atomic cluster expansion
    (Drautz, doi:10.1103/PhysRevB.99.014104).

    Parameters
    ----------
    num_types : int
        T.
    cutoff : float
        rc, in nm.
    max_l : int
        L, 0 to 4.
    channels : int
        F.
    radial_functions : int
        G.
    hidden : sequence of int
        Widths of the hidden layers, at least one.
    activation : str
        Of the hidden layers: ``"tanh"`` or ``"silu"``.
    temperature_dependent : bool
        Whether the networks have two outputs, so that U(x; T) = A(x) - T B(x) + C(T); see NetworkPotential.
    products : sequence of pairs (degrees, shifts)
        ((l, l), (0, s)) or ((l1, l2, l3), (0, s2, s3)); see the function `products` for a good choice.

    Attributes
    ----------
    filters : Parameter
        C, shape (G, L + 1, F).
    type_weights : Parameter
        a, shape (T, F).
    feature_shift, feature_scale : Tensor
        Buffers, a number for each feature, initially 0 and 1; see set_feature_statistics.
    """

    feature_shift: Tensor
    feature_scale: Tensor
    odd_components: Tensor
    couplings: Tensor
    product_degrees: list[list[int]]
    product_shifts: list[list[int]]

    def __init__(
        self,
        num_types: int,
        cutoff: float,
        max_l: int = 3,
        channels: int = 12,
        radial_functions: int = 20,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        temperature_dependent: bool = False,
        products: Sequence[tuple[Sequence[int], Sequence[int]]] = (),
    ) -> None:
        super().__init__(num_types, cutoff, temperature_dependent)
        if int(max_l) != max_l or not 0 <= max_l <= MAX_L:
            raise ValueError(f"max_l must be an integer from 0 to {MAX_L}, got {max_l!r}")
        if int(channels) != channels or channels < 1:
            raise ValueError(f"channels must be a positive integer, got {channels!r}")
        if not hidden or any(int(width) != width or width < 1 for width in hidden):
            raise ValueError(f"hidden must be one or more positive integers, got {hidden!r}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        self.max_l = int(max_l)
        self.channels = int(channels)
        self.activation = activation
        self.product_degrees = [[int(degree) for degree in degrees] for degrees, _ in products]
        self.product_shifts = [[int(shift) for shift in shifts] for _, shifts in products]
        for degrees, shifts in zip(self.product_degrees, self.product_shifts, strict=True):
            _meanforce.checkProduct(self.max_l, self.channels, degrees, shifts)
        self.basis = BSpline(self.cutoff, radial_functions)
        self.filters = torch.nn.Parameter(_smooth_filters(self.basis.functions, self.max_l, self.channels))
        self.type_weights = torch.nn.Parameter(torch.ones(self.num_types, self.channels))
        if self.num_types > 1:
            torch.nn.init.normal_(self.type_weights, mean=1.0, std=0.5)
        widths = [(self.max_l + 2 + len(products)) * self.channels, *(int(width) for width in hidden), self.readouts]
        # The last layer is small: an untrained network adds next to nothing to a prior.
        self.layers = torch.nn.ModuleList(
            TypedLinear(self.num_types, widths[i], widths[i + 1], 1.0 if i + 2 < len(widths) else 1e-2)
            for i in range(len(widths) - 1)
        )
        odd_degree = [degree % 2 == 1 for degree in range(self.max_l + 1) for _ in range(2 * degree + 1)]
        self.register_buffer("odd_components", torch.tensor(odd_degree), persistent=False)
        self.register_buffer("couplings", self._couplings(), persistent=False)
        self.register_buffer("feature_shift", torch.zeros(widths[0]))
        self.register_buffer("feature_scale", torch.ones(widths[0]))

    def _couplings(self) -> Tensor:
        matrices = [_coupling_matrix(degrees).flatten() for degrees in self.product_degrees if len(degrees) == 3]
        return torch.cat([torch.zeros(0, dtype=torch.float64), *matrices])

    @torch.jit.unused
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "MomentTensor":
        """Convert the module as usual, but keep exact couplings: one trained in float32 is exported in float64."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.couplings = self._couplings().to(self.filters.device)
        return self

    def features(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        """Return x_i, a row for each bead, before shift and scale. Arguments as for `bead_energies`."""
        displacements = displacements.to(self.filters.dtype)
        distances = displacements.square().sum(1).sqrt()
        harmonics = spherical_harmonics(displacements / distances.unsqueeze(1), self.max_l)
        filters = self.filters * self.type_weights[0] if self.num_types == 1 else self.filters
        radial = self.basis(distances) @ filters.reshape(self.basis.functions, -1)

        # Sums over neighbours as batched products of each bead's own rows: far fewer passes through memory than
        # forming all products W Y of all pairs, and all of it again for each derivative.
        pairs, signs = neighbor_rows(first, second, types.shape[0])
        beads, longest = pairs.shape
        flat = pairs.reshape(-1)
        radial = radial.index_select(0, flat)
        if self.num_types > 1:
            neighbor = torch.where(signs.reshape(-1) > 0, second.index_select(0, flat), first.index_select(0, flat))
            weights = self.type_weights.index_select(0, types.index_select(0, neighbor))
            radial = (radial.view(-1, self.max_l + 1, self.channels) * weights.unsqueeze(1)).flatten(1)
        # Y_lm(-u) = (-1)^l Y_lm(u), and 0 where a row is padded.
        odd = signs.to(radial.dtype).unsqueeze(2)
        parity = torch.where(self.odd_components, odd, odd.abs())
        harmonics = harmonics.index_select(0, flat).view(beads, longest, self.odd_components.shape[0]) * parity
        # split, not slices: its backward is one concatenation.
        angular = torch.split(harmonics, [2 * degree + 1 for degree in range(self.max_l + 1)], 2)
        filtered = radial.view(beads, longest, (self.max_l + 1) * self.channels).split(self.channels, 2)
        features: list[Tensor] = []
        moments: list[Tensor] = []
        for degree in range(self.max_l + 1):
            moment = torch.bmm(angular[degree].transpose(1, 2), filtered[degree])
            if degree == 0:
                features.append(moment.squeeze(1))
            features.append(moment.square().sum(1))
            moments.append(moment)
        return torch.cat(features + self._products(moments), 1)

    def _products(self, moments: list[Tensor]) -> list[Tensor]:
        """Return the products of moments, each of shape (N, F), from one tensor (N, 2 l + 1, F) for each degree l."""
        values: list[Tensor] = []
        couplings = self.couplings.to(self.filters.dtype)
        start = 0
        for number, degrees in enumerate(self.product_degrees):
            shifts = self.product_shifts[number]
            first, second = moments[degrees[0]], _channels_from(moments[degrees[1]], shifts[1])
            if len(degrees) == 2:
                values.append((first * second).sum(1))
            else:
                third = _channels_from(moments[degrees[2]], shifts[2])
                rows, columns = third.shape[1], first.shape[1] * second.shape[1]
                coupling = couplings[start : start + rows * columns].view(rows, columns)
                pairs = (first.unsqueeze(2) * second.unsqueeze(1)).flatten(1, 2)
                values.append((torch.matmul(coupling, pairs) * third).sum(1))
                start += rows * columns
        return values

    def bead_readouts(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        """Return the networks' outputs, shape (N, readouts); see NetworkPotential.bead_readouts."""
        features = self.features(displacements, first, second, types)
        values = (features - self.feature_shift) / self.feature_scale
        if self.num_types == 1:
            return self._network(values, 0)
        readouts = torch.zeros(types.shape[0], self.readouts, dtype=values.dtype, device=values.device)
        for bead_type in range(self.num_types):
            beads = (types == bead_type).nonzero().squeeze(1)
            readouts = readouts.index_add(0, beads, self._network(values.index_select(0, beads), bead_type))
        return readouts

    def _network(self, values: Tensor, bead_type: int) -> Tensor:
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            values = layer(values, bead_type)
            if number < last:
                values = torch.tanh(values) if self.activation == "tanh" else torch.nn.functional.silu(values)
        return values

    @torch.jit.unused
    @torch.no_grad()
    def set_feature_statistics(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> None:
        """Set shift and scale so that over these beads every feature has mean 0 and standard deviation 1.

        Arguments as for `bead_energies`. Call it once, on a sample of the training frames, before training.
        """
        features = self.features(displacements, first, second, types)
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        self.feature_shift.copy_(mean)
        # A feature that does not vary carries no information; scaling it up would only amplify rounding.
        self.feature_scale.copy_(torch.where(deviation > 1e-6 * mean.abs(), deviation, torch.ones_like(deviation)))

    @torch.jit.unused
    def components(self) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Return the native description; see Potential.components."""
        tensors = {"filters": double(self.filters), "type_weights": double(self.type_weights)}
        hidden = []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, TypedLinear)
            weight, bias = double(layer.weight), double(layer.bias)
            hidden.append(weight.shape[1])
            if number == 0:  # W (x - shift) / scale + b as one affine map
                weight = weight / double(self.feature_scale)
                bias = bias - weight @ double(self.feature_shift)
            tensors[f"layers.{number}.weight"] = weight
            tensors[f"layers.{number}.bias"] = bias
        description = {
            "kind": "moment-tensor",
            "cutoff": self.cutoff,
            "max_l": self.max_l,
            "channels": self.channels,
            "radial_functions": self.basis.functions,
            "hidden": hidden[:-1],
            "activation": self.activation,
            "products": [list(pair) for pair in zip(self.product_degrees, self.product_shifts, strict=True)],
        }
        return [self.describe_readouts(description, tensors, f"layers.{len(self.layers) - 1}")]


def _channels_from(moments: Tensor, shift: int) -> Tensor:
    """Return moments, shape (N, 2 l + 1, F), with channel c + shift in the place of channel c."""
    return moments if shift == 0 else torch.roll(moments, -shift, 2)


def _coupling_matrix(degrees: list[int]) -> Tensor:
    """Return K of three moments in float64, row m3, column (m1, m2)."""
    first, second, third = (2 * degree + 1 for degree in degrees)
    matrix = torch.zeros(third, first, second, dtype=torch.float64)
    for components, value in _meanforce.coupleMoments(degrees):
        m1, m2, m3 = (lm - degree**2 for lm, degree in zip(components, degrees, strict=True))
        matrix[m3, m1, m2] = value
    return matrix.flatten(1)


def _smooth_filters(functions: int, max_l: int, channels: int) -> Tensor:
    """Return random filters of long wavelengths, shape (G, L + 1, F): also where no distance is ever sampled."""
    waves = torch.arange(5, dtype=torch.float64)
    centres = (torch.arange(functions, dtype=torch.float64) - 1) / functions
    amplitudes = torch.randn(5, (max_l + 1) * channels, dtype=torch.float64) / sqrt(5.0)
    filters = torch.cos(pi * centres.unsqueeze(1) * waves) @ amplitudes
    return filters.view(functions, max_l + 1, channels).to(torch.get_default_dtype())
