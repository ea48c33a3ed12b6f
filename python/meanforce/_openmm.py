# SPDX-License-Identifier: MIT
"""Helpers shared by our subclasses of ``openmm.Force`` and ``openmm.Integrator``."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import unit

FloatArray = NDArray[np.float64]


def strip_units(value: Any, to: Any) -> Any:
    """Return `value` as a plain number, or an array of them, in the unit `to`; lists may hold quantities.

    Raises
    ------
    TypeError
        If `value` carries a unit that can't be converted to `to`.
    """
    if isinstance(value, list | tuple) and any(
        unit.is_quantity(entry) or isinstance(entry, list | tuple) for entry in value
    ):
        return [strip_units(entry, to) for entry in value]
    if not unit.is_quantity(value):
        return value
    if not value.unit.is_compatible(to):
        raise TypeError(f"a quantity in {value.unit} is not compatible with {to}, the unit expected here")
    return value.value_in_unit(to)


def encode(array: Any) -> str:
    """Return a float64 array as base64 of its little-endian bytes, the form used in XML."""
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode("ascii")


def adopt(instance: Any, xml: str) -> None:
    """Make `instance` the Python face of a C++ object that OpenMM's own deserializer creates from `xml`."""
    instance.this = openmm.XmlSerializer.deserialize(xml).this


def float_array(name: str, values: ArrayLike, shape: tuple[int | None, ...], meaning: str) -> FloatArray:
    """Return `values` as a float64 array; None in `shape` stands for any length of at least one.

    Raises
    ------
    ValueError
        If the shape is another; `meaning` says what its entries are.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != len(shape) or any(
        found < 1 or expected not in (None, found) for found, expected in zip(array.shape, shape, strict=True)
    ):
        expected_text = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({expected_text}), that is {meaning}; found {array.shape}")
    return array
