"""Programs without weights: what lowering would give, as far as cycles and traffic depend on it. No torch.

The modules follow those of `golden/lowering`, which needs a calibrated model, operation for operation and name for
name; tests/test_outline.py holds the one to the other.
"""

from golden.program import Program
from reports.outline.formats import Formats
from reports.outline.sizes import Sizes, VitSizes
from reports.outline.swin import SwinOutline
from reports.outline.vit import VitOutline


def outline(sizes: Sizes, formats: Formats) -> Program:
    """The program of a model of these sizes under these formats, for `sim.schedule` alone: its numbers mean nothing.

    Raises:
        UserError: something that cycles depend on is only known after a calibration.
    """
    if isinstance(sizes, VitSizes):
        return VitOutline(sizes, formats).program()
    return SwinOutline(sizes, formats).program()
