# SPDX-License-Identifier: MIT
"""model.pt: one file with a TorchScript potential and its native description (docs/model_file.md).

Reading needs no torch; :func:`export` imports it.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from . import _meanforce
from ._version import __version__
from .bonds import BondGraph

if TYPE_CHECKING:
    from .potentials import Potential

FORMAT = "meanforce-model"
VERSION = 3
UNITS = {"length": "nm", "energy": "kJ/mol", "mass": "dalton", "temperature": "K"}
#: Largest difference between the two halves: of the energy, and of a force over the root mean square of the forces.
TOLERANCE = 1e-9
#: What the hidden layers of a moment-tensor network may apply, and the largest degree of its moments.
ACTIVATIONS = ("tanh", "silu")
MAX_L = 4
#: What a SchNet may be made of, and its largest number of blocks.
SCHNET_ACTIVATIONS = ("tanh", "ssp", "silu")
RADIAL_BASES = ("expnormal", "gaussian")
CUTOFF_FUNCTIONS = ("cosine", "shifted_cosine", "polynomial")
MAX_BLOCKS = 8

_DESCRIPTION = "meanforce.json"
_PARAMETERS = "parameters.safetensors"
_KERNEL = "kernel.json"


class ModelFileError(ValueError):
    """A model file that is damaged, incomplete, altered or too new, or a model that can't be written."""


@dataclass(frozen=True)
class BeadType:
    """A type of bead: what a topology calls it, and its mass.

    Parameters
    ----------
    name : str
        Atom name in the topology.
    residue : str
        Name of the residue it belongs to; empty if it doesn't matter.
    mass : float or None
        In dalton; None if the model doesn't fix it.
    """

    name: str
    residue: str = ""
    mass: float | None = None


@dataclass(frozen=True)
class Component:
    """One term of the energy.

    Parameters
    ----------
    kind : str
        ``"pair-spline"``, ``"stillinger-weber"``, ``"moment-tensor"``, ``"schnet"``, ``"harmonic-bond"``,
        ``"harmonic-angle"``, ``"dihedral"`` or ``"improper"``.
    architecture : dict
        Its sizes, as in the file; what version 1 did not say is filled in.
    tensors : dict
        Its float64 parameters.
    """

    kind: str
    architecture: dict[str, Any]
    tensors: dict[str, np.ndarray]

    @property
    def cutoff(self) -> float:
        """Cutoff in nm; 0 for bonded terms."""
        return float(self.architecture.get("cutoff", 0.0))

    @property
    def needs_bonds(self) -> bool:
        """Whether the energy depends on which beads are bonded."""
        return self.kind in _BONDED_WIDTHS or self.architecture.get("exclude_bonds", 0) > 0

    @property
    def temperature_dependent(self) -> bool:
        """Whether the energy depends on temperature, so that there are two readouts."""
        return self.architecture.get("readouts") == 2


@dataclass(frozen=True)
class ModelFile:
    """What a model file says, checked.

    Parameters
    ----------
    num_types : int
    cutoff : float
        In nm.
    bead_types : list of BeadType or None
    components : list of Component
    kernel : str or None
        The memory kernel's JSON text.
    description : dict
        The whole of meanforce.json.
    has_torchscript : bool
        Whether the archive can be loaded by ``torch.jit.load``.
    bond_graph : BondGraph or None
        The bonded system that the TorchScript half is for; the native half takes its bonds from the topology.
    """

    num_types: int
    cutoff: float
    bead_types: list[BeadType] | None
    components: list[Component]
    kernel: str | None
    description: dict[str, Any]
    has_torchscript: bool
    bond_graph: BondGraph | None = None


def read(path: str | os.PathLike[str]) -> ModelFile:
    """Read the native half of a model file and check all of it.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    ModelFile

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is not a model file, is truncated, was written by a newer format version, describes something that
        can't be, lacks a parameter, has one of the wrong shape, or was altered after it was written.
    """
    where = f"'{os.fspath(path)}'"
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no model file {where}")
    with open(path, "rb") as file:
        content = file.read()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception as error:  # of a damaged archive zipfile says so in six types of exception
        raise ModelFileError(f"{where} is not a model file, or is truncated or damaged: {error}") from None

    roots = [name.removesuffix(f"extra/{_DESCRIPTION}") for name in members if name.endswith(f"extra/{_DESCRIPTION}")]
    if len(roots) != 1:
        raise ModelFileError(
            f"{where} holds no extra/{_DESCRIPTION}: it was not written by meanforce.export. "
            "CGPotential runs another TorchScript archive if bead_types are given"
        )
    relative = {name.removeprefix(roots[0]): content for name, content in members.items() if not name.endswith("/")}
    extra = {name.removeprefix("extra/"): content for name, content in relative.items() if name.startswith("extra/")}
    torchscript = {name: content for name, content in relative.items() if not name.startswith("extra/")}
    description = _description(extra[_DESCRIPTION], where)
    if _PARAMETERS not in extra:
        raise ModelFileError(f"{where} holds no extra/{_PARAMETERS}")
    try:
        recorded = description["sha256"]
        _check_hash(where, "architecture", recorded["components"], _sha256(_canonical(description)))
        _check_hash(where, "native parameters", recorded["parameters"], _sha256(extra[_PARAMETERS]))
        if torchscript:
            _check_hash(where, "TorchScript half", recorded["torchscript"], _sha256_of_members(torchscript))
        tensors = safetensors.numpy.load(extra[_PARAMETERS])
        num_types = _count(description, "num_types", where)
        entries = _completed(description["components"], description["version"])
        components = _components(entries, tensors, num_types, where)
        bead_types = _bead_types(description["bead_types"], num_types, where)
        graph = _bond_graph(description.get("bond_graph"), num_types, where)
    except SafetensorError as error:
        raise ModelFileError(f"{where} has unreadable parameters: {error}") from None
    except (KeyError, TypeError) as error:
        raise ModelFileError(f"the description in {where} is incomplete: {error!r}") from None
    return ModelFile(
        num_types=num_types,
        cutoff=max(component.cutoff for component in components),
        bead_types=bead_types,
        components=components,
        kernel=extra[_KERNEL].decode("utf-8", errors="replace") if _KERNEL in extra else None,
        description=description,
        has_torchscript=bool(torchscript),
        bond_graph=graph,
    )


def has_description(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an archive that says what it is, as those of `export` do.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is not an archive at all.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no model file '{os.fspath(path)}'")
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(f"extra/{_DESCRIPTION}") for name in archive.namelist())
    except Exception as error:
        raise ModelFileError(f"'{os.fspath(path)}' is not a TorchScript archive, or is damaged: {error}") from None


def export(model: Potential, path: str | os.PathLike[str], *, kernel: Any = None) -> None:
    """Write a torch model as `model.pt`, after checking that its TorchScript and its native half agree.

    The file replaces an older one of that name in one step, and only after a random cluster of beads has been evaluated
    by both halves: the energies must agree within 1e-9, relative, and the forces within 1e-9 of their root mean square.

    Parameters
    ----------
    model : Potential
        A PairSpline, a StillingerWeber, a MomentTensor, a SchNet, a bonded potential or a Sum of them. It is left as it
        is; the file holds its parameters as float64. With bonded terms or exclusions it needs `set_bonds`, for the
        TorchScript half.
    path : str or path-like
    kernel : object with a method ``to_json()``, or dict, optional
        A memory kernel to carry along.

    Raises
    ------
    TypeError
        If `model` has no native counterpart or `kernel` has no JSON form.
    ModelFileError
        If a parameter is not finite, the bead types do not fit the model, or the two halves disagree. An existing file
        is left as it was.
    """
    from . import _torchscript

    exported = _torchscript.frozen_copy(model)
    archive = _torchscript.archive(exported)
    description, tensors = describe(exported)
    if exported.bond_graph is None and _needs_bonds(description):
        raise ModelFileError(
            "the model has bonded terms or exclusions, so its TorchScript half must know who is bonded: "
            "call set_bonds(types, bonds) first"
        )
    content = add_native_half(archive, description, tensors, _kernel_text(kernel))
    _replace(path, content, _torchscript.check_halves)


def describe(model: Potential) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the description of a model, without hashes, and its parameters by name."""
    bead_types = model.bead_types
    if bead_types is not None and len(bead_types) != model.num_types:
        raise ModelFileError(
            f"bead_types must have one entry for each of the {model.num_types} types, got {bead_types}"
        )
    graph = model.bond_graph
    tensors: dict[str, np.ndarray] = {}
    components = []
    for i, (architecture, parameters) in enumerate(model.components()):
        components.append(architecture)
        for name, values in parameters.items():
            if not np.isfinite(values).all():
                raise ModelFileError(f"the model has parameters that are not finite ({architecture['kind']}: {name})")
            tensors[f"components.{i}.{name}"] = np.ascontiguousarray(values, dtype=np.float64)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"meanforce {__version__}",
        "units": UNITS,
        "num_types": model.num_types,
        "cutoff": model.cutoff,
        "bead_types": None
        if bead_types is None
        else [{"name": b.name, "residue": b.residue, "mass": b.mass} for b in bead_types],
        "components": components,
        "bond_graph": None
        if graph is None
        else {"types": list(graph.types), "bonds": [list(bond) for bond in graph.bonds]},
    }
    return description, tensors


def _needs_bonds(description: dict[str, Any]) -> bool:
    return any(Component(entry["kind"], entry, {}).needs_bonds for entry in description["components"])


def add_native_half(
    archive: bytes, description: dict[str, Any], tensors: dict[str, np.ndarray], kernel: str | None = None
) -> bytes:
    """Return `archive` with the native description and parameters as extra files.

    Parameters
    ----------
    archive : bytes
        A TorchScript archive, or nothing for a file with a native half only.
    description : dict
        See `describe`; the hashes are added here.
    tensors : dict of ndarray
    kernel : str, optional
        JSON text of a memory kernel.
    """
    parameters = safetensors.numpy.save(dict(sorted(tensors.items())))
    buffer = io.BytesIO(archive)
    root = "archive/"
    torchscript: dict[str, bytes] = {}
    if archive:
        with zipfile.ZipFile(buffer) as source:
            root = source.namelist()[0].split("/")[0] + "/"
            torchscript = {name.removeprefix(root): source.read(name) for name in source.namelist()}
    hashes = {
        "components": _sha256(_canonical(description)),
        "parameters": _sha256(parameters),
        "torchscript": _sha256_of_members(torchscript) if torchscript else None,
    }
    extra = {
        _DESCRIPTION: json.dumps({**description, "sha256": hashes}, indent=1).encode(),
        _PARAMETERS: parameters,
    }
    if kernel is not None:
        extra[_KERNEL] = kernel.encode()
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as target:
        for name, content in extra.items():
            # A fixed date: the same model gives the same native half, byte for byte.
            target.writestr(zipfile.ZipInfo(f"{root}extra/{name}", (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def _replace(path: str | os.PathLike[str], content: bytes, check: Callable[[str], None]) -> None:
    """Write `content` beside `path`, check it there, and only then give it its name."""
    target = os.path.abspath(os.fspath(path))
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder '{folder}' to write '{os.path.basename(target)}' into")
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        check(temporary)
        # mkstemp makes the file private; give it the mode that open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _kernel_text(kernel: Any) -> str | None:
    if kernel is None:
        return None
    value = kernel.to_json() if hasattr(kernel, "to_json") else kernel
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, str) and value is not kernel:
        return value
    raise TypeError(f"kernel must have a method to_json() or be a dict, got {type(kernel).__name__}")


def _description(content: bytes, where: str) -> dict[str, Any]:
    try:
        description = json.loads(content)
    except ValueError as error:  # JSON and Unicode errors alike
        raise ModelFileError(f"the description in {where} is not JSON: {error}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ModelFileError(f"the description in {where} must have the format '{FORMAT}'")
    version = description.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ModelFileError(f"{where} has the format version {version!r}; it must be a whole number >= 1")
    if version > VERSION:
        raise ModelFileError(
            f"{where} was written by format version {version}, this meanforce reads up to {VERSION}: upgrade meanforce"
        )
    if description.get("units") != UNITS:
        raise ModelFileError(f"{where} has the units {description.get('units')!r}; they must be {UNITS}")
    return description


def _canonical(description: dict[str, Any]) -> bytes:
    """Return what must not change about the components, as one string whatever the layout of the JSON."""
    return json.dumps(description["components"], sort_keys=True, separators=(",", ":")).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha256_of_members(members: dict[str, bytes]) -> str:
    """Return one hash of several files: of their names, lengths and contents, in the order of the names."""
    digest = hashlib.sha256()
    for name, content in sorted(members.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _check_hash(where: str, part: str, recorded: str | None, found: str) -> None:
    if recorded != found:
        raise ModelFileError(
            f"the {part} of {where} were altered after the file was written, so its two halves may describe different "
            f"potentials: SHA-256 {found}, recorded {recorded}"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _count(entry: dict[str, Any], name: str, where: str, least: int = 1, most: float = math.inf) -> int:
    value: Any = entry.get(name)
    if not _is_whole(value) or not least <= value <= most:
        rule = f">= {least}" if most == math.inf else f"from {least} to {most}"
        raise ModelFileError(f"{name} in {where} must be a whole number {rule}, got {value!r}")
    return int(value)


def _bead_types(table: Any, num_types: int, where: str) -> list[BeadType] | None:
    if table is None:
        return None
    if not isinstance(table, list) or len(table) != num_types:
        raise ModelFileError(f"bead_types in {where} must be a list of {num_types} types, got {table!r}")
    types = []
    for row in table:
        if (
            not isinstance(row, dict)
            or not all(isinstance(row.get(key), str) for key in ("name", "residue"))
            or "mass" not in row
        ):
            raise ModelFileError(
                f"a bead type in {where} must have a name and a residue, two strings, and a mass, got {row!r}"
            )
        mass = row["mass"]
        if mass is not None and not (_is_finite(mass) and mass >= 0):
            raise ModelFileError(f"the mass of bead type '{row['name']}' in {where} must be >= 0 dalton, got {mass!r}")
        types.append(BeadType(row["name"], row["residue"], None if mass is None else float(mass)))
    return types


def _completed(entries: Any, version: int) -> Any:
    """Return the entries of the components with the fields that came after the file's version of the format."""
    if not isinstance(entries, list):
        return entries
    for since, added in _ADDED.items():
        if version < since:
            entries = [
                {**added.get(str(entry.get("kind")), {}), **entry} if isinstance(entry, dict) else entry
                for entry in entries
            ]
    return entries


def _components(entries: Any, tensors: dict[str, np.ndarray], num_types: int, where: str) -> list[Component]:
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ModelFileError(f"components in {where} must be a list of one or more objects, got {entries!r}")
    return [_component(entry, f"components.{i}.", tensors, num_types, where) for i, entry in enumerate(entries)]


def _component(
    entry: dict[str, Any], prefix: str, tensors: dict[str, np.ndarray], num_types: int, where: str
) -> Component:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in _SHAPES:
        raise ModelFileError(f"{where} has a component of kind {kind!r}; known kinds: {', '.join(_SHAPES)}")
    cutoff: Any = entry.get("cutoff")
    if kind not in _BONDED_WIDTHS and not (_is_finite(cutoff) and cutoff > 0):
        raise ModelFileError(f"the cutoff of a {kind} in {where} must be a positive length in nm, got {cutoff!r}")
    parameters = {}
    for name, shape in _SHAPES[kind](entry, num_types, where).items():
        values = tensors.get(prefix + name)
        if values is None:
            raise ModelFileError(f"{where} lacks the parameter {prefix}{name}")
        if values.shape != shape or values.dtype != np.float64:
            raise ModelFileError(
                f"the parameter {prefix}{name} in {where} must be float64 of shape {shape}, "
                f"got {values.dtype} of shape {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ModelFileError(f"the parameter {prefix}{name} in {where} has values that are not finite")
        parameters[name] = values
    return Component(kind, entry, parameters)


def _bond_graph(entry: Any, num_types: int, where: str) -> BondGraph | None:
    if entry is None:
        return None
    try:
        graph = BondGraph.create(entry["types"], entry["bonds"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"bond_graph in {where} makes no sense: {error!r}") from None
    if not all(0 <= t < num_types for t in graph.types):
        raise ModelFileError(f"bond_graph in {where} has types other than 0 .. {num_types - 1}")
    return graph


def _bonded_rows(entry: dict[str, Any], num_types: int, where: str) -> int:
    rows: Any = entry.get("types")
    width = _BONDED_WIDTHS[entry["kind"]]
    if (
        not isinstance(rows, list)
        or not rows
        or not all(isinstance(row, list) and len(row) == width for row in rows)
        or not all(_is_whole(t) and 0 <= t < num_types for row in rows for t in row)
    ):
        raise ModelFileError(
            f"types in {where} must be a list of lists of {width} types of 0 .. {num_types - 1} for a {entry['kind']}, "
            f"got {rows!r}"
        )
    return len(rows)


def _harmonic_bond_shapes(entry: dict[str, Any], num_types: int, where: str) -> dict[str, tuple[int, ...]]:
    rows = _bonded_rows(entry, num_types, where)
    return {"force_constants": (rows,), "lengths": (rows,)}


def _harmonic_angle_shapes(entry: dict[str, Any], num_types: int, where: str) -> dict[str, tuple[int, ...]]:
    rows = _bonded_rows(entry, num_types, where)
    return {"force_constants": (rows,), "angles": (rows,)}


def _torsion_shapes(entry: dict[str, Any], num_types: int, where: str) -> dict[str, tuple[int, ...]]:
    return {"coefficients": (_bonded_rows(entry, num_types, where), _count(entry, "order", where), 2)}


def _pair_spline_shapes(entry: dict[str, Any], num_types: int, where: str) -> dict[str, tuple[int, ...]]:
    _count(entry, "exclude_bonds", where, 0)
    return {"coefficients": (num_types * (num_types + 1) // 2, _count(entry, "functions", where, 4))}


def _stillinger_weber_shapes(entry: dict[str, Any], num_types: int, where: str) -> dict[str, tuple[int, ...]]:
    for name, most in (("ranges", entry["cutoff"]), ("gammas", math.inf)):
        rows: Any = entry.get(name)
        if (
            not isinstance(rows, list)
            or len(rows) != num_types
            or not all(isinstance(row, list) and len(row) == num_types for row in rows)
            or not all(_is_finite(value) and 0 < value <= most for row in rows for value in row)
        ):
            limit = "" if most == math.inf else ", at most the cutoff"
            rule = f"{num_types} lists of {num_types} positive lengths in nm{limit}"
            raise ModelFileError(f"{name} in {where} must be {rule}, got {rows!r}")
    return {"coefficients": (num_types, num_types * (num_types + 1) // 2, 3)}


def _moment_tensor_shapes(entry: dict[str, Any], num_types: int, where: str) -> dict[str, tuple[int, ...]]:
    degrees, channels = _count(entry, "max_l", where, 0, MAX_L) + 1, _count(entry, "channels", where)
    hidden, readouts = _widths(entry, where), _count(entry, "readouts", where, 1, 2)
    _choice(entry, "activation", ACTIVATIONS, where)
    shapes: dict[str, tuple[int, ...]] = {
        "filters": (_count(entry, "radial_functions", where, 4), degrees, channels),
        "type_weights": (num_types, channels),
    }
    if readouts == 2:
        shapes["offset"] = (4,)
    products = entry.get("products", [])
    _check_products(products, degrees - 1, channels, where)
    widths = [(degrees + 1 + len(products)) * channels, *hidden, readouts]
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        shapes[f"layers.{layer}.weight"] = (num_types, outputs, inputs)
        shapes[f"layers.{layer}.bias"] = (num_types, outputs)
    return shapes


def _schnet_shapes(entry: dict[str, Any], num_types: int, where: str) -> dict[str, tuple[int, ...]]:
    features, filters = _count(entry, "features", where), _count(entry, "filters", where)
    radial_functions, readouts = _count(entry, "radial_functions", where), _count(entry, "readouts", where, 1, 2)
    _choice(entry, "activation", SCHNET_ACTIVATIONS, where)
    _choice(entry, "basis", RADIAL_BASES, where)
    _choice(entry, "cutoff_function", CUTOFF_FUNCTIONS, where)
    exponent: Any = entry.get("basis_exponent")
    lower: Any = entry.get("cutoff_lower")
    if not (_is_finite(exponent) and exponent > 0):
        raise ModelFileError(f"basis_exponent in {where} must be positive, got {exponent!r}")
    if not (_is_finite(lower) and 0 <= lower < entry["cutoff"]):
        raise ModelFileError(f"cutoff_lower in {where} must be >= 0 and less than the cutoff, got {lower!r}")
    if "filter_grid" not in entry or not _is_filter_grid(entry["filter_grid"]):
        raise ModelFileError(
            f"filter_grid in {where} must be null or have the degree 3 and a whole number of intervals >= 4, "
            f"got {entry.get('filter_grid')!r}"
        )
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (num_types, features),
        "type_energies": (num_types,),
        "radial.centers": (radial_functions,),
    }
    if entry["basis"] == "expnormal":
        shapes["radial.betas"] = (radial_functions,)
    if readouts == 2:
        shapes["offset"] = (4,)
    for block in range(_count(entry, "blocks", where, 1, MAX_BLOCKS)):
        shapes[f"blocks.{block}.lin1.weight"] = (filters, features)
        for name, outputs, inputs in (
            ("filter1", filters, radial_functions),
            ("filter2", filters, filters),
            ("lin2", features, filters),
            ("lin3", features, features),
        ):
            shapes[f"blocks.{block}.{name}.weight"] = (outputs, inputs)
            shapes[f"blocks.{block}.{name}.bias"] = (outputs,)
        if entry["filter_grid"] is not None:
            shapes[f"blocks.{block}.filter_table"] = (entry["filter_grid"]["intervals"] + 3, filters)
    for layer, (inputs, outputs) in enumerate(itertools.pairwise([features, *_widths(entry, where), readouts])):
        shapes[f"layers.{layer}.weight"] = (outputs, inputs)
        shapes[f"layers.{layer}.bias"] = (outputs,)
    return shapes


def _is_filter_grid(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and value.get("degree") == 3
        and _is_whole(value.get("intervals"))
        and value["intervals"] >= 4
    )


def _widths(entry: dict[str, Any], where: str) -> list[int]:
    hidden = entry.get("hidden")
    if not isinstance(hidden, list) or not all(_is_whole(width) and width >= 1 for width in hidden):
        raise ModelFileError(f"hidden in {where} must be a list of whole numbers >= 1, got {hidden!r}")
    return hidden


def _choice(entry: dict[str, Any], name: str, choices: tuple[str, ...], where: str) -> None:
    if entry.get(name) not in choices:
        raise ModelFileError(f"{name} in {where} must be one of {', '.join(choices)}, got {entry.get(name)!r}")


def _check_products(products: Any, max_l: int, channels: int, where: str) -> None:
    def is_list(value: Any, length: int | None = None) -> bool:
        return isinstance(value, list) and length in (None, len(value))

    if not is_list(products) or not all(
        is_list(pair, 2) and all(is_list(part) and all(_is_whole(n) and abs(n) < 2**31 for n in part) for part in pair)
        for pair in products
    ):
        raise ModelFileError(
            f"products in {where} must be a list of pairs of lists of integers, degrees and shifts, got {products!r}"
        )
    for degrees, shifts in products:
        try:
            _meanforce.checkProduct(max_l, channels, degrees, shifts)
        except ValueError as error:
            raise ModelFileError(f"products in {where}: {error}") from None


#: For each kind of bonded component, the number of beads it joins.
_BONDED_WIDTHS = {"harmonic-bond": 2, "harmonic-angle": 3, "dihedral": 4, "improper": 4}

#: For each kind of component, the names and shapes of its parameters.
_SHAPES: dict[str, Callable[[dict[str, Any], int, str], dict[str, tuple[int, ...]]]] = {
    "pair-spline": _pair_spline_shapes,
    "stillinger-weber": _stillinger_weber_shapes,
    "moment-tensor": _moment_tensor_shapes,
    "schnet": _schnet_shapes,
    "harmonic-bond": _harmonic_bond_shapes,
    "harmonic-angle": _harmonic_angle_shapes,
    "dihedral": _torsion_shapes,
    "improper": _torsion_shapes,
}

#: Fields of components that came with a version of the format, with what they were before.
_ADDED: dict[int, dict[str, dict[str, Any]]] = {
    2: {"moment-tensor": {"readouts": 1}},
    3: {"pair-spline": {"exclude_bonds": 0}},
}
