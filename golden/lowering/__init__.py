"""Lowering: a calibrated float model becomes a program of integers; the last place where floats occur."""

from golden.calibrate import Calibrated
from golden.errors import UserError
from golden.lowering.swin import SwinLowering
from golden.lowering.vit import VitLowering
from golden.program import Program
from golden.swin import Swin
from golden.vit import Vit

__all__ = ["lower"]


def lower(calibrated: Calibrated, provenance: dict[str, str | int]) -> Program:
    """The integer program of a calibrated model, with hardware zero in its log codes."""
    calibrated = calibrated.with_zero("hardware")
    match calibrated.model:
        case Vit() as model:
            return VitLowering(calibrated, model).program(provenance)
        case Swin() as model:
            return SwinLowering(calibrated, model).program(provenance)
    raise UserError(f"{type(calibrated.model).__name__} has no lowering")
