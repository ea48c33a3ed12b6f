# SPDX-License-Identifier: MIT
"""Units of files that do not say theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openmm import unit

ELECTRONVOLT = unit.elementary_charge * unit.volt * unit.AVOGADRO_CONSTANT_NA


@dataclass(frozen=True)
class Units:
    """Length, energy and time of a file; forces and velocities follow.

    Attributes
    ----------
    length, energy, time : openmm.unit.Unit
        As ``Units(unit.angstrom, unit.kilocalorie_per_mole, unit.femtosecond)``.
    """

    length: Any
    energy: Any
    time: Any = unit.picosecond

    @property
    def position_factor(self) -> float:
        """What positions in the file are multiplied with to be in nm."""
        return float((1.0 * self.length).value_in_unit(unit.nanometer))

    @property
    def force_factor(self) -> float:
        """What forces in the file are multiplied with to be in kJ/mol/nm."""
        return self._energy_in_kj / self.position_factor

    @property
    def time_factor(self) -> float:
        """What times in the file are multiplied with to be in ps."""
        return float((1.0 * self.time).value_in_unit(unit.picosecond))

    @property
    def velocity_factor(self) -> float:
        """What velocities in the file are multiplied with to be in nm/ps."""
        return self.position_factor / self.time_factor

    @property
    def _energy_in_kj(self) -> float:
        quantity = self.energy if unit.is_quantity(self.energy) else 1.0 * self.energy
        return float(quantity.value_in_unit(unit.kilojoule_per_mole))


UNITS = {
    "openmm": Units(unit.nanometer, unit.kilojoule_per_mole, unit.picosecond),
    "mdanalysis": Units(unit.angstrom, unit.kilojoule_per_mole, unit.picosecond),
    "real": Units(unit.angstrom, unit.kilocalorie_per_mole, unit.femtosecond),
    "metal": Units(unit.angstrom, ELECTRONVOLT, unit.picosecond),
    "mlcg": Units(unit.angstrom, unit.kilocalorie_per_mole, unit.picosecond),
}
"""Known systems: OpenMM's, MDAnalysis's, LAMMPS's real and metal, and kcal/mol with angstrom as mlcg has it."""


def units_named(units: Units | str) -> Units:
    """Return units by name.

    Raises
    ------
    ValueError
        If the name is not in `UNITS`.
    """
    if isinstance(units, Units):
        return units
    if units not in UNITS:
        raise ValueError(f"`units` must be one of {sorted(UNITS)} or a meanforce.data.Units, got {units!r}")
    return UNITS[units]
