"""Tensors that sim captured, as input beats of the unit that consumed them, constants and all."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from golden.program import Operation, Program
from reports.stimuli import closing, column
from sim.unit import Beats, Codes, Unit

PER_TOKEN: Mapping[str, tuple[str, ...]] = {
    "token_encoder": ("multiplier", "offset", "shift", "zero_code"),
    "token_scaler": ("multiplier", "zero_point"),
}
"""By unit the constants of which there is one per token; all others are one per channel, or the same for all."""
PER_ROW = ("token_encoder",)
"""Units that take their constants once a row, not once a beat."""


def real_beats(
    program: Program, operation: Operation, spec: Unit, tensors: Mapping[str, NDArray[np.int64]], codes: int
) -> dict[str, Beats]:
    """About `codes` codes of the operation's first operand, at least a row, with what goes with them.

    At an even stride through images, heads, tokens and, of products, output channels.
    """
    operands = {
        name: np.asarray(tensors[source] if source in tensors else program.constants[source], np.int64)
        for name, source in operation.inputs.items()
    }
    if "w" in spec.inputs:
        return _products(operation.unit, spec, operands, codes)
    # A unit of one operand may call its stream otherwise.
    named = operands if len(operands) > 1 else dict(zip(spec.inputs, operands.values(), strict=True))
    first = named[next(iter(spec.inputs))]
    channels = first.shape[-1]
    chosen = _stride(first.size // channels, codes // channels)
    beats = {}
    for stream, port in spec.inputs.items():
        per_token = stream in PER_TOKEN.get(operation.unit, ())
        operand = named[stream][:, None] if per_token else named[stream]
        values = np.broadcast_to(operand, first.shape).reshape(-1, channels)[chosen]
        if port.last:
            beats[stream] = Beats(values.reshape(-1, 1), closing(np.full(len(values), channels)))
        else:
            beats[stream] = column(
                values[:, 0] if per_token and operation.unit in PER_ROW else values.ravel()
            )
    return beats


def _products(unit: str, spec: Unit, operands: Mapping[str, Codes], codes: int) -> dict[str, Beats]:
    """Rows of the first operand, each with a row of weights (`[N, K]`, or `[.., N, K]`) and its bias."""
    a, w = operands["a"], operands["w"]
    if unit == "log2_mac":  # takes [.., K, N]
        w = w.swapaxes(-1, -2)
    rows, length, outputs = a.shape[-2], a.shape[-1], w.shape[-2]
    batch, m, n = np.unravel_index(
        _stride(a.size // length * outputs, codes // length), (a.size // (rows * length), rows, outputs)
    )
    left = a.reshape(-1, rows, length)[batch, m]
    if unit == "outlier_mac":  # fetches its weights by the words' indices
        right = w[n[:, None], left >> spec.value_bits]  # type: ignore[attr-defined]
    else:
        right = w[n] if w.ndim == 2 else w.reshape(-1, outputs, w.shape[-1])[batch, n]
    beats = {
        "a": Beats(left.reshape(-1, 1), closing(np.full(len(left), length))),
        "w": column(right.ravel()),
    }
    if "bias" in spec.inputs:
        beats["bias"] = column(operands.get("bias", np.zeros(outputs, np.int64))[n])
    return beats


def _stride(there: int, wanted: int) -> Codes:
    """`wanted` of `there` indices, at least one, evenly spread."""
    return np.unique(np.linspace(0, there - 1, max(1, min(wanted, there))).astype(np.int64))
