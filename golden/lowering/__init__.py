"""Lowering: a calibrated float model becomes a program of integers; the last place where floats occur."""

from golden.calibrate import Calibrated
from golden.errors import UserError
from golden.lowering.vit import VitLowering
from golden.program import Program
from golden.vit import Vit

__all__ = ["lower"]


def lower(calibrated: Calibrated, provenance: dict[str, str | int]) -> Program:
    """The integer program of a calibrated model, with hardware zero in its log codes."""
    calibrated = calibrated.with_zero("hardware")
    if isinstance(calibrated.model, Vit):
        return VitLowering(calibrated, calibrated.model).program(provenance)
    raise UserError(f"{type(calibrated.model).__name__} has no lowering")
