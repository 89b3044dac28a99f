"""Which input an output beat came from, in words: what a failure is reported with."""

from collections.abc import Mapping

import numpy as np

from sim.unit import Beats, Unit

SHOWN = 8
"""Codes of a row that a message names."""


def input_of(spec: Unit, inputs: Mapping[str, Beats], stream: str, beat: int) -> str:
    """The input beat, or the row, that decides beat `beat` of output `stream`: `input beat 5: a = 3, b = -4`.

    Without rows every output beat has an input beat; with rows an output has one beat for every beat of the rows,
    or so many for every row. Empty for a beat that nothing decides, one more than are due.
    """
    rows = next((inputs[name].last for name, port in spec.inputs.items() if port.last), None)
    if rows is None:
        if any(beat >= len(beats.last) for beats in inputs.values()):
            return ""
        return f"input beat {beat}: " + _named({name: beats.codes[beat] for name, beats in inputs.items()})
    stops = np.flatnonzero(rows) + 1
    row = _row(spec, stops, stream, beat, _count(spec, inputs, stream))
    if row is None:
        return ""
    start, stop = int(stops[row - 1]) if row else 0, int(stops[row])
    part = {}
    for name, beats in inputs.items():
        chosen = beats.codes[start:stop] if len(beats.last) == len(rows) else beats.codes[row : row + 1]
        part[name] = chosen.ravel()
    return f"input row {row}, beats {start} to {stop - 1}: " + _named(part)


def _count(spec: Unit, inputs: Mapping[str, Beats], stream: str) -> int:
    """Beats due on `stream`."""
    return len(spec.timing(**inputs)[stream])


def _row(spec: Unit, stops: np.ndarray, stream: str, beat: int, count: int) -> int | None:
    """Row that decides the beat, of `count` on its stream."""
    if beat >= count:
        return None
    if count == stops[-1] and spec.outputs[stream].last:  # a beat for every beat
        return int(np.searchsorted(stops, beat, side="right"))
    return beat // (count // len(stops)) if count % len(stops) == 0 else None


def _named(codes: Mapping[str, np.ndarray]) -> str:
    """`a = 3, b = 1 2 3 .. (40 codes)`."""
    texts = []
    for name, given in codes.items():
        text = " ".join(str(code) for code in given[:SHOWN].tolist())
        texts.append(f"{name} = {text}" + (f" .. ({given.size} codes)" if given.size > SHOWN else ""))
    return ", ".join(texts)
