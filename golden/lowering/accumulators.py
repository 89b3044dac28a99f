"""A lowered program on narrower accumulators: sums that may not fit wrap or saturate, and what follows from that."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from golden.errors import InvariantError, UserError
from golden.formats import MAX_BITS, Accumulators, Integer
from golden.lowering.multipliers import check_product
from golden.program import Operation, Parameter, Program, Tensor

UNITS = frozenset({"mac", "log2_mac", "two_scale_mac", "table_mac", "outlier_mac"})
"""Units with an accumulator."""


def limited(program: Program, accumulators: Accumulators) -> Program:
    """`program` with every accumulator proven to need more bits cut to `accumulators`; the others stay as proven.

    Scales stay: where no sum overflows, every tensor is the same. The formats behind a cut accumulator follow it.
    Raises UserError where a result made of wrapped sums grows too wide for its requantizer.
    """
    tensors, operations = dict(program.tensors), []
    for operation in program.operations:
        format, changes = _format(operation, program, tensors, accumulators)
        before = tensors[operation.output]
        tensors[operation.output] = replace(before, format=format)
        if operation.unit == "requantizer":
            _check_requantizer(operation, program, tensors, accumulators)
        operations.append(replace(operation, parameters={**operation.parameters, **changes}))
    return replace(program, tensors=tensors, operations=tuple(operations))


def _format(
    operation: Operation, program: Program, tensors: Mapping[str, Tensor], accumulators: Accumulators
) -> tuple[Integer, dict[str, Parameter]]:
    """Format of the operation's output on the formats that its inputs have now, and the parameters that change."""
    proven = program.tensors[operation.output].format
    if operation.unit in UNITS and proven.bits > accumulators.bits:
        cut = Integer(bits=accumulators.bits, signed=True)
        return cut, {"acc_bits": cut.bits, "overflow": accumulators.overflow}
    if operation.unit == "move" and "rows" not in operation.inputs:
        return tensors[operation.inputs["x"]].format, {}
    if operation.unit == "token_scaler" and accumulators.overflow == "wrap":
        acc = operation.inputs["acc"]
        if tensors[acc].format != program.tensors[acc].format:
            bits = max(proven.bits, _total_bits(operation, program, tensors, accumulators))
            return Integer(bits=bits, signed=True), {"out_bits": bits}
    return proven, {}


def _total_bits(
    operation: Operation, program: Program, tensors: Mapping[str, Tensor], accumulators: Accumulators
) -> int:
    """Width of a token_scaler's totals when the dense sum is any integer of its format, whatever the zero points say.

    A saturated sum lies between the least and the largest of the exact sums, for which the width was proven, and so
    does either one's sum of outliers; a wrapped dense sum may lie where no sum of these codes does.
    """
    constants, parameters = program.constants, operation.parameters
    multiplier, zero_point, column_sum = (
        constants[operation.inputs[port]] for port in ("multiplier", "zero_point", "column_sum")
    )
    outlier_shift, shift = parameters["outlier_shift"], parameters["shift"]
    if not isinstance(outlier_shift, int) or not isinstance(shift, int):
        raise InvariantError(
            f"{operation.name}: shifts must be integers, not {outlier_shift!r} and {shift!r}"
        )
    dense, outlier = (1 << (tensors[operation.inputs[port]].format.bits - 1) for port in ("acc", "outlier"))
    reach = int(((dense + zero_point * int(np.abs(column_sum).max())) * multiplier).max())
    total = reach + (outlier << outlier_shift)
    if total.bit_length() + 1 > MAX_BITS:
        raise _too_wide(operation, accumulators)
    # The rounding half may lift a total by one.
    return Integer.holding(-(total >> shift) - 1, (total >> shift) + 1).bits


def _check_requantizer(
    operation: Operation, program: Program, tensors: Mapping[str, Tensor], accumulators: Accumulators
) -> None:
    acc = tensors[operation.inputs["acc"]].format
    multiplier, offset = (program.constants[operation.inputs[port]] for port in ("multiplier", "offset"))
    try:
        check_product(acc.bits, multiplier, offset, operation.name)
    except InvariantError as error:
        raise _too_wide(operation, accumulators) from error


def _too_wide(operation: Operation, accumulators: Accumulators) -> UserError:
    return UserError(
        f"with accumulators of {accumulators.bits} bits that wrap, {operation.name} needs more than {MAX_BITS} bits; "
        "take fewer or more bits, or let them saturate"
    )
