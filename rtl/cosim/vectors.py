"""What the bench reads: each stream's payloads, the cycle each should move in, and the rows run after a reset."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from rtl.stream import StreamUnit
from sim.unit import Beats, Port, Unit

RESETS = 6
"""Resets, each at a random cycle of the first rows."""
RESET_ROWS, RESET_BEATS = 2, 32
"""Rows run again after each reset; beats, where there are no rows."""


def write_vectors(
    path: Path, component: StreamUnit, inputs: Mapping[str, Beats], outputs: Mapping[str, Beats], seed: int
) -> None:
    """Vectors of the bench: each stream's beats as hexadecimal payloads, and the cycles the spec states."""
    spec = component.spec
    cycles, few = spec.timing(**inputs), first_rows(spec, inputs)
    few_cycles, few_beats = spec.timing(**few), dict(few) | spec.run(**few)
    ports = dict(spec.inputs) | dict(spec.outputs)
    moves = np.unique(np.concatenate(list(cycles.values())))
    few_end = max(int(when[-1]) for when in few_cycles.values())
    about = {
        "directions": {name: "in" if name in spec.inputs else "out" for name in ports},
        "seed": seed,
        # Twice the longest silence the model knows, and a margin for a stretch of nearly permanent stalls.
        "patience": 2 * int(np.diff(moves).max(initial=1)) + 1000,
        "resets": np.random.default_rng(seed).integers(1, few_end + 1, RESETS).tolist(),
    }
    arrays = {"about": np.array(json.dumps(about))}
    for name, port in ports.items():
        beats = inputs[name] if name in inputs else outputs[name]
        arrays[f"{name}.beats"], arrays[f"{name}.cycles"] = payloads(beats, port), cycles[name]
        arrays[f"{name}.few_beats"], arrays[f"{name}.few_cycles"] = (
            payloads(few_beats[name], port),
            few_cycles[name],
        )
    np.savez(path, allow_pickle=False, **arrays)


def first_rows(spec: Unit, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """The first beats of `inputs`, whole rows where there are rows: what runs again after a reset.

    Beside a stream of rows, another moves once a beat or once a row.
    """
    row_streams = [inputs[name] for name, port in spec.inputs.items() if port.last]
    if not row_streams:
        return {
            name: Beats(beats.codes[:RESET_BEATS], beats.last[:RESET_BEATS]) for name, beats in inputs.items()
        }
    ends = np.flatnonzero(row_streams[0].last)[:RESET_ROWS] + 1
    counts = {int(row_streams[0].last.sum()): len(ends), len(row_streams[0].last): int(ends[-1])}
    few = {}
    for name, beats in inputs.items():
        if len(beats.last) not in counts:
            raise InvariantError(
                f"stream {name} has {len(beats.last)} beats: neither one a beat nor one a row"
            )
        count = counts[len(beats.last)]
        few[name] = Beats(beats.codes[:count], beats.last[:count])
    return few


def payloads(beats: Beats, port: Port) -> NDArray[np.str_]:
    """Each beat as one hexadecimal word: lane 0 lowest, two's complement, `last` on top."""
    bits, lanes = port.format.bits, port.lanes
    words = []
    for codes, last in zip(beats.codes.tolist(), beats.last.tolist(), strict=True):
        word = sum((code & ((1 << bits) - 1)) << (bits * lane) for lane, code in enumerate(codes))
        words.append(f"{word | (int(last and port.last) << (bits * lanes)):x}")
    return np.array(words)
