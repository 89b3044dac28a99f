"""MAC in reports: sweep over operand widths; rows of random and extreme codes, of lengths from 1."""

from collections.abc import Mapping

import numpy as np

from golden.formats import Integer
from reports.registry import reference_parameters
from reports.stimuli import column, crossed, ends, rows, stream, uniform
from sim.unit import Beats, Codes
from sim.units.mac import Mac

SWEEP = [
    # Activations × weights: both zero points folded away; Q·Kᵀ: two activations with zero points.
    Mac(
        a_format=Integer(bits=bits, signed=False),
        w_format=Integer(bits=bits, signed=signed),
        a_zero_point=zero_point,
        w_zero_point=zero_point and zero_point - 1,
        acc_bits=2 * bits + 10,
    )
    for bits in (4, 8)
    for signed, zero_point in ((True, 0), (False, 1 << (bits - 1)))
]


def label(spec: Mac) -> str:
    """Such as `u8-z0-x-s8-z0`: formats and zero points of both operands."""
    return f"{spec.a_format}-z{spec.a_zero_point}-x-{spec.w_format}-z{spec.w_zero_point}"


def stimuli(spec: Mac, rng: np.random.Generator) -> dict[str, Beats]:
    """Random rows of 1 to 64 products, single products of all pairs of ends, rows that stay at one extreme.

    The bias fills what the row's sum leaves of the accumulator, so that some sums end exactly at its limits.
    """
    lengths = [5, 3, *rng.integers(1, 65, 12).tolist()]
    a = [uniform(spec.a_format, rng, n) for n in lengths]
    w = [uniform(spec.w_format, rng, n) for n in lengths]
    pairs = crossed(ends(spec.a_format), ends(spec.w_format))
    for left, right in zip(*pairs, strict=True):
        length = int(rng.choice((1, 2, 40)))
        a.append(np.full(length, left))
        w.append(np.full(length, right))
    return {"a": rows(a), "w": stream(*w), "bias": column(_biases(spec, a, w, rng))}


def _biases(spec: Mac, a: list[Codes], w: list[Codes], rng: np.random.Generator) -> Codes:
    limits = spec.acc_format
    biases = []
    for n, (left, right) in enumerate(zip(a, w, strict=True)):
        total = int(((left - spec.a_zero_point) * (right - spec.w_zero_point)).sum())
        low, high = (
            max(limits.min_code - total, limits.min_code),
            min(limits.max_code - total, limits.max_code),
        )
        biases.append((low, high, int(rng.integers(low, high + 1)))[n % 3])
    return np.array(biases, np.int64)


def reference(spec: Mac, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Accumulators by golden's reference, row by row."""
    import torch

    from golden.units.mac import golden

    cuts = np.flatnonzero(inputs["a"].last)[:-1] + 1
    a, w = (np.split(inputs[name].codes[:, 0], cuts) for name in ("a", "w"))
    bias = torch.from_numpy(inputs["bias"].codes)
    parameters = reference_parameters(golden, spec)
    acc = [
        golden(torch.from_numpy(left)[None], torch.from_numpy(right)[None], bias[n], **parameters).item()
        for n, (left, right) in enumerate(zip(a, w, strict=True))
    ]
    return {"o": column(np.array(acc))}
