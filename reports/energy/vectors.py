"""Real input beats of a program's operation: what drives its unit in an energy estimate."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from golden.program import Operation, Program
from reports.program_check import checks_of
from sim.registry import unit_of
from sim.unit import Beats, Unit

BEATS = 2048
"""About as many as drive a unit."""


def real_inputs(
    program: Program, operation: Operation, tensors: Mapping[str, NDArray[np.int64]], beats: int = BEATS
) -> tuple[Unit, dict[str, Beats]]:
    """The unit of `operation` and about `beats` beats of its captured operands, whole rows, at an even stride.

    For units with one input stream, and for multiply-accumulators: each row is then one sum, and the sums go
    evenly through images, heads, tokens and features. Raises ValueError for other units.
    """
    spec = unit_of(program, operation)
    if len(spec.inputs) == 1 and len(operation.inputs) == 1:
        (source,) = operation.inputs.values()
        rows = max(1, beats // tensors[source].shape[-1])
        one = replace(program, operations=(operation,))
        (check,) = checks_of(one, tensors, (operation.unit,), rows, "")
        return spec, dict(check.beats or {})
    if not {"a", "w"} <= set(spec.inputs) <= {"a", "w", "bias"} or operation.unit == "outlier_mac":
        raise ValueError(
            f"real inputs of {operation.unit} are not known, {operation.name} has several streams"
        )
    return spec, _sums(program, operation, spec, tensors, beats)


def _sums(
    program: Program,
    operation: Operation,
    spec: Unit,
    tensors: Mapping[str, NDArray[np.int64]],
    beats: int,
) -> dict[str, Beats]:
    """Operands of some of the sums of a multiply-accumulator."""
    operands = {
        name: tensors[source] if source in tensors else program.constants[source]
        for name, source in operation.inputs.items()
    }
    a, w = operands["a"], operands["w"]
    if operation.unit == "log2_mac":
        w = np.swapaxes(w, -1, -2)  # [.., K, N] to [.., N, K], as the others have it
    *lead, rows, length = a.shape
    columns = w.shape[-2]
    w = np.broadcast_to(w, (*lead, columns, length)).reshape(-1, columns, length)
    a = a.reshape(-1, rows, length)
    total = len(a) * rows * columns
    chosen = np.unique(np.linspace(0, total - 1, min(total, max(1, beats // length))).astype(np.int64))
    group, row, column = np.unravel_index(chosen, (len(a), rows, columns))
    last = np.zeros((len(chosen), length), np.bool_)
    last[:, -1] = True
    bias = operands.get("bias", np.zeros(columns, np.int64))
    made = {
        "a": Beats(a[group, row].reshape(-1, 1), last.reshape(-1)),
        "w": Beats(w[group, column].reshape(-1, 1), np.zeros(last.size, np.bool_)),
        "bias": Beats(bias[column].reshape(-1, 1), np.zeros(len(chosen), np.bool_)),
    }
    return {name: made[name] for name in spec.inputs}
