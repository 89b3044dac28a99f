"""Energy of units, relative: what their gates toggle on real inputs, and what a Liberty file says of each toggle."""

from reports.energy.estimate import METHOD, Energy, energy
from reports.energy.pool import EnergyJob, energies
from reports.energy.vectors import real_inputs

__all__ = ["METHOD", "Energy", "EnergyJob", "energies", "energy", "real_inputs"]
