"""How often accumulators overflow: outputs of which some sum did not fit (docs/datapath.md, accumulators)."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from golden.accumulate import Terms, misfits, outside
from golden.errors import InvariantError
from golden.formats import Integer
from golden.program import Operation, Parameter
from golden.units import log2_mac


def overflowed(unit: str, operands: Mapping[str, Tensor], parameters: Mapping[str, Parameter]) -> Tensor:
    """Where bool[.., M, N] a multiply-accumulate unit's output has a sum outside its `acc_bits`.

    Counted in the order of the terms, the bias and the joined value included; `overflow` makes no difference.
    """
    bits = parameters["acc_bits"]
    if not isinstance(bits, int):
        raise InvariantError(f"{unit}: acc_bits must be an integer, not {bits!r}")
    format, bias = Integer(bits=bits, signed=True), operands.get("bias")
    settings = {name: value for name, value in parameters.items() if name not in {"acc_bits", "overflow"}}
    factors = {port: operand for port, operand in operands.items() if port != "bias"}
    found: tuple[Terms, ...] = importlib.import_module(f"golden.units.{unit}").terms(**factors, **settings)
    if len(found) == 1:
        return outside(found[0], bias, format)
    even, odd = found
    joined = misfits(log2_mac.join(even.total(), odd.total()), format)
    return outside(even, bias, format) | outside(odd, bias, format) | joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflows:
    """How many outputs of one operation overflowed."""

    operation: str
    unit: str
    outputs: int
    overflowed: int

    def __add__(self, other: "Overflows") -> "Overflows":
        return replace(
            self, outputs=self.outputs + other.outputs, overflowed=self.overflowed + other.overflowed
        )


@dataclass(slots=True)
class OverflowMeter:
    """Counts the overflows of a program's operations while `golden.reference.execute` shows them to it."""

    found: dict[str, Overflows] = field(default_factory=dict)

    def see(self, operation: Operation, operands: Mapping[str, Tensor]) -> None:
        """Counts one batch of `operation`, where its accumulators may overflow."""
        if operation.parameters.get("overflow", "none") == "none":
            return
        outputs = overflowed(operation.unit, operands, operation.parameters)
        seen = Overflows(
            operation=operation.name,
            unit=operation.unit,
            outputs=outputs.numel(),
            overflowed=int(outputs.sum()),
        )
        before = self.found.get(operation.name)
        self.found[operation.name] = before + seen if before else seen

    def counts(self) -> Iterator[Overflows]:
        """One for every operation that may overflow, in the order of execution."""
        yield from self.found.values()
