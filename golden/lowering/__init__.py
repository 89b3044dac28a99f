"""Lowering: a calibrated float model becomes a program of integers; the last place where floats occur."""

from golden.calibrate import Calibrated
from golden.errors import UserError
from golden.formats import Accumulators
from golden.lowering.accumulators import limited
from golden.lowering.swin import SwinLowering
from golden.lowering.vit import VitLowering
from golden.program import Program
from golden.swin import Swin
from golden.vit import Vit

__all__ = ["Accumulators", "lower"]


def lower(
    calibrated: Calibrated, provenance: dict[str, str | int], accumulators: Accumulators | None = None
) -> Program:
    """The integer program of a calibrated model, with hardware zero in its log codes.

    `accumulators` are the widest that the hardware has: sums that may not fit them wrap or saturate. Without, every
    accumulator is as wide as its sums are proven to need.
    """
    calibrated = calibrated.with_zero("hardware")
    match calibrated.model:
        case Vit() as model:
            program = VitLowering(calibrated, model).program(provenance)
        case Swin() as model:
            program = SwinLowering(calibrated, model).program(provenance)
        case other:
            raise UserError(f"{type(other).__name__} has no lowering")
    return program if accumulators is None else limited(program, accumulators)
