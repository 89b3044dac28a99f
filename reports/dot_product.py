"""Stimuli and reference of the multiply-accumulators that have a bias: rows of random and extreme operands."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from golden.formats import Integer
from reports.registry import reference_parameters
from reports.stimuli import closing, column, crossed, ends, row_lengths, rows, stream, uniform
from sim.unit import Beats, Codes, Unit


class DotProductSpec(Protocol):
    """What the specs of these units share."""

    @property
    def w_format(self) -> Integer:
        """Codes of the second operand."""

    @property
    def w_zero_point(self) -> int:
        """Code of `w` that means 0."""

    @property
    def acc_format(self) -> Integer:
        """The accumulator."""

    @property
    def overflow(self) -> str:
        """What a sum beyond it does."""


class Accumulating(Protocol):
    """What the specs of all units with an accumulator share."""

    @property
    def acc_bits(self) -> int:
        """Width of the accumulator."""

    @property
    def overflow(self) -> str:
        """What a sum beyond it does."""


OVERFLOWING = ("wrap", "saturate")
"""What a sum that does not fit may do."""


def overflow_suffix(spec: Accumulating) -> str:
    """End of a label, such as `-wrap10`: mode and width of an accumulator that may overflow, else nothing."""
    return "" if spec.overflow == "none" else f"-{spec.overflow}{spec.acc_bits}"


def swings(up: int, down: int) -> list[Codes]:
    """Rows of `up` and `down`, indices of terms that drive a sum far up and far down.

    Each end is passed, for good or left again; the same terms come in other orders, which a saturated sum tells apart.
    """
    there = np.array([up] * 12 + [down] * 12)
    turns = np.array([up, down, down, up] * 6)
    longer = [np.concatenate((there, there)), np.concatenate((there[::-1], turns))]
    return [there[:12], there[12:], there, there[::-1], turns, *longer]


def dot_product_volume(
    spec: DotProductSpec,
    a_format: Integer,
    a_ends: Sequence[int],
    decode: Callable[[Codes], Codes],
    rng: np.random.Generator,
    count: int,
) -> dict[str, Beats]:
    """About `count` products in rows of 1 to 64: random, at the operands' ends, and at one extreme all along.

    A bias is anywhere in what its row's sum leaves of the accumulator, every third one at an end of it; of an
    accumulator that may overflow anywhere at all.
    """
    lengths = row_lengths(count, 64, rng)
    last = closing(lengths)
    kind = np.repeat(rng.integers(0, 4, lengths.size), lengths)
    # The first operand and weight of a row are those of all of it where the row stays at one extreme.
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    operands = []
    for format, chosen in ((a_format, a_ends), (spec.w_format, ends(spec.w_format))):
        extreme = rng.choice(np.array(chosen, np.int64), last.size)
        operands.append(
            np.select((kind == 0, kind == 1), (extreme, extreme[first]), uniform(format, rng, last.size))
        )
    terms = decode(operands[0]) * (operands[1] - spec.w_zero_point)
    totals = np.add.reduceat(terms, np.cumsum(lengths) - lengths)
    limits = spec.acc_format
    if spec.overflow != "none":
        biases = uniform(limits, rng, lengths.size)
    else:
        low, high = (
            np.clip(end - totals, limits.min_code, limits.max_code)
            for end in (limits.min_code, limits.max_code)
        )
        anywhere = rng.integers(low, high, endpoint=True)
        place = rng.integers(0, 6, lengths.size)
        biases = np.select((place == 0, place == 1), (low, high), anywhere)
    return {"a": Beats(operands[0][:, None], last), "w": column(operands[1]), "bias": column(biases)}


def dot_product_stimuli(
    spec: DotProductSpec,
    a_format: Integer,
    a_ends: Sequence[int],
    decode: Callable[[Codes], Codes],
    rng: np.random.Generator,
) -> dict[str, Beats]:
    """Random rows of 1 to 64 products, single products of `a_ends` and ends of `w`, rows that stay at one extreme.

    `decode` gives the integers that codes of `a` stand for. The bias fills what the row's sum leaves of the
    accumulator, so that some sums end exactly at its limits. An accumulator that may overflow also gets `swings`.
    """
    lengths = [5, 3, *rng.integers(1, 65, 12).tolist()]
    a = [uniform(a_format, rng, n) for n in lengths]
    w = [uniform(spec.w_format, rng, n) for n in lengths]
    for left, right in zip(*crossed(a_ends, ends(spec.w_format)), strict=True):
        length = int(rng.choice((1, 2, 40)))
        a.append(np.full(length, left))
        w.append(np.full(length, right))
    totals = [
        int((decode(left) * (right - spec.w_zero_point)).sum()) for left, right in zip(a, w, strict=True)
    ]
    biases = _biases(spec.acc_format, totals, rng)
    if spec.overflow != "none":
        left, right = crossed(a_ends, ends(spec.w_format))
        terms = decode(left) * (right - spec.w_zero_point)
        for row in swings(int(terms.argmax()), int(terms.argmin())):
            a.append(left[row])
            w.append(right[row])
        starts = [*ends(spec.acc_format), 0, *uniform(spec.acc_format, rng, 2)]
        biases = np.append(biases, starts)
    return {"a": rows(a), "w": stream(*w), "bias": column(biases)}


def _biases(limits: Integer, totals: Sequence[int], rng: np.random.Generator) -> Codes:
    biases = []
    for n, total in enumerate(totals):
        # What a sum beyond the limits would need may be beyond them itself.
        room = np.array((limits.min_code - total, limits.max_code - total))
        low, high = np.clip(room, limits.min_code, limits.max_code).tolist()
        biases.append((low, high, int(rng.integers(low, high + 1)))[n % 3])
    return np.array(biases, np.int64)


def dot_product_reference(
    golden: Callable[..., Any], spec: Unit, inputs: Mapping[str, Beats]
) -> dict[str, Beats]:
    """Accumulators by `golden`, row by row."""
    import torch

    cuts = np.flatnonzero(inputs["a"].last)[:-1] + 1
    a, w = (np.split(inputs[name].codes[:, 0], cuts) for name in ("a", "w"))
    bias = torch.from_numpy(inputs["bias"].codes)
    parameters = reference_parameters(golden, spec)
    acc = [
        golden(torch.from_numpy(left)[None], torch.from_numpy(right)[None], bias[n], **parameters).item()
        for n, (left, right) in enumerate(zip(a, w, strict=True))
    ]
    return {"o": column(np.array(acc))}
