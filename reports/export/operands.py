"""An operation's own operands as the beats of its unit's streams: the vectors that a program's spec is made for."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.program import Operation
from sim.unit import Beats, Codes, Unit

BEATS = 4096
"""Of a unit whose rows are many and short, or that has no rows."""
PER_ROW = {
    "token_encoder": {"multiplier", "offset", "shift", "zero_code"},
    "token_scaler": {"multiplier", "zero_point"},
}
"""Operands with one value for each row of the data; all others have one per code of a row, or one at all."""


def operand_beats(
    spec: Unit,
    operation: Operation,
    tensors: Mapping[str, NDArray[np.int64]],
    rows: int,
    rng: np.random.Generator,
) -> dict[str, Beats]:
    """Beats of every stream of `spec` for `rows` random rows of the operation, or as many as make BEATS beats.

    A row is one sum of a multiply-accumulator, or one row of the first operand. `tensors` has the operands by
    name, activations with a leading batch axis. Raises InvariantError where a stream takes several lanes.
    """
    if any(port.lanes > 1 for port in spec.inputs.values()):
        raise InvariantError(
            f"{operation.name}: {operation.unit} takes several lanes, which nothing fills here"
        )
    operands = {name: tensors[source] for name, source in operation.inputs.items()}
    if len(spec.inputs) == 1:  # whatever the operation calls its only operand
        operands = dict(zip(spec.inputs, operands.values(), strict=True))
    columns = (
        _sums(spec, operands, rows, rng)
        if "w" in spec.inputs
        else _rows(spec, operation, operands, rows, rng)
    )
    return {name: _beats(columns[name], port.last) for name, port in spec.inputs.items()}


def _sums(spec: Unit, operands: Mapping[str, Codes], rows: int, rng: np.random.Generator) -> dict[str, Codes]:
    """Rows of `a` and `w`, int64[rows, K], and the bias of each, int64[rows, 1]."""
    a, w = operands["a"], operands["w"]
    if "bias" not in spec.inputs:
        w = w.swapaxes(-1, -2)  # log2_mac has w[.., K, N]
    heads = a.reshape(-1, *a.shape[-2:])
    weights = np.broadcast_to(w.reshape(-1, *w.shape[-2:]), (len(heads), *w.shape[-2:]))
    space = (len(heads), a.shape[-2], w.shape[-2])
    head, m, n = np.unravel_index(_chosen(int(np.prod(space)), a.shape[-1], rows, rng), space)
    row, weight = heads[head, m], weights[head, n]
    if hasattr(spec, "index_bits"):  # outlier_mac: a word names its weight
        weight = np.take_along_axis(weight, row >> spec.value_bits, axis=1)  # type: ignore[attr-defined]
    bias = operands["bias"][n] if "bias" in operands else np.zeros(len(n), np.int64)
    return {"a": row, "w": weight, "bias": bias[:, None]}


def _rows(
    spec: Unit, operation: Operation, operands: Mapping[str, Codes], rows: int, rng: np.random.Generator
) -> dict[str, Codes]:
    """Rows of the first operand, int64[rows, length], and of the others what goes with each row or each code."""
    (first, port), *others = spec.inputs.items()
    data = operands[first]
    length = data.shape[-1]
    chosen = _chosen(data.size // length, length, rows, rng)
    columns = {first: data.reshape(-1, length)[chosen]}
    for name, _ in others:
        operand = operands[name]
        if name in PER_ROW.get(operation.unit, ()):
            values = operand[chosen % len(operand)][:, None]
            columns[name] = values if port.last else np.repeat(values, length, axis=1)
        else:
            columns[name] = np.broadcast_to(operand, data.shape).reshape(-1, length)[chosen]
    return columns


def _chosen(count: int, length: int, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random rows of `length` beats, in order, among `count`."""
    wanted = min(count, max(rows, BEATS // length))
    return np.sort(rng.choice(count, wanted, replace=False))


def _beats(columns: Codes, has_rows: bool) -> Beats:
    last = np.zeros(columns.shape, np.bool_)
    last[:, -1] = has_rows
    return Beats(columns.reshape(-1, 1), last.reshape(-1))
