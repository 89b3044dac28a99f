"""Log2 MAC in reports: sweep over bases, widths, narrow accumulators; every code against both ends of the operand."""

from collections.abc import Mapping

import numpy as np

from golden.formats import Integer
from reports.dot_product import OVERFLOWING, overflow_suffix, swings
from reports.registry import reference_parameters
from reports.stimuli import closing, column, crossed, ends, row_lengths, rows, stream, uniform
from sim.unit import Beats
from sim.units.log2_mac import Log2Mac

SWEEP = [
    Log2Mac(
        code_bits=bits,
        steps_per_octave=steps,
        frac_bits=min(-(-((1 << bits) - 2) // steps), 16),
        w_format=Integer(bits=bits, signed=False),
        w_zero_point=1 << (bits - 1),
        acc_bits=bits + min(-(-((1 << bits) - 2) // steps), 16) + 8,  # sums of up to 180 terms
    )
    for steps in (1, 2)
    for bits in (4, 8)
] + [
    Log2Mac(
        code_bits=4,
        steps_per_octave=steps,
        frac_bits=frac_bits,
        w_format=Integer(bits=4, signed=False),
        w_zero_point=zero_point,
        acc_bits=frac_bits + whole_bits,
        overflow=overflow,
    )
    for steps, frac_bits, zero_point, whole_bits, overflow in (
        # Five of the largest terms, up to 8 << F each, leave ±32 << F; with base √2, E and O within it together do.
        *((1, 14, 8, 6, overflow) for overflow in OVERFLOWING),
        *((2, 7, 8, 6, overflow) for overflow in OVERFLOWING),
        # No term above 0, then none below; 100 of the largest, 15 << F each, fit, times √2 as well.
        *((1, 14, 15, 13, "none"), (2, 7, 0, 13, "none")),
    )
]


def label(spec: Log2Mac) -> str:
    """Such as `logsqrt2-4b-x-u4-f7`: base, code bits, integer operand, fraction bits; `-wrap13` for overflow.

    A zero point that is not the middle of the operand's codes follows these: `log2-4b-x-u4-z15-f14`.
    """
    base = "log2" if spec.steps_per_octave == 1 else "logsqrt2"
    middle = (spec.w_format.min_code + spec.w_format.max_code + 1) // 2
    zero_point = "" if spec.w_zero_point == middle else f"-z{spec.w_zero_point}"
    return f"{base}-{spec.code_bits}b-x-{spec.w_format}{zero_point}-f{spec.frac_bits}{overflow_suffix(spec)}"


def stimuli(spec: Log2Mac, rng: np.random.Generator) -> dict[str, Beats]:
    """Random rows; every code alone against the operand's ends; rows that drive the sum as far as terms go."""
    lengths = [5, 3, *rng.integers(1, 41, 8).tolist()]
    a = [uniform(spec.code_format, rng, n) for n in lengths]
    # Small codes are the large terms: rows of those, too.
    a += [rng.integers(0, 4, n) for n in lengths]
    w = [uniform(spec.w_format, rng, n) for n in lengths + lengths]
    singles = crossed(range(spec.zero_code + 1), [spec.w_format.min_code, spec.w_format.max_code])
    a += [code[None] for code in singles[0]]
    w += [code[None] for code in singles[1]]
    for code, extreme in zip(*crossed((0, 1), ends(spec.w_format)), strict=True):
        a.append(np.full(100, code))
        w.append(np.full(100, extreme))
    if spec.overflow != "none":
        low, high = spec.w_format.min_code, spec.w_format.max_code
        # Either accumulator alone, then terms of both by turns: 3 of each fit, and joined no longer do.
        for codes in ([0], [1], [0, 1]):
            for row in [*swings(high, low), np.full(6, high), np.full(6, low)]:
                a.append(np.resize(codes, row.size))
                w.append(row)
    return {"a": rows(a), "w": stream(*w)}


def volume(spec: Log2Mac, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` products in rows of 1 to 64: random codes, the codes of the large terms, and the zero code."""
    lengths = row_lengths(count, 64, rng)
    last = closing(lengths)
    kind = np.repeat(rng.integers(0, 4, lengths.size), lengths)
    a, w = uniform(spec.code_format, rng, last.size), uniform(spec.w_format, rng, last.size)
    large = rng.integers(0, 4, last.size)
    large[rng.random(last.size) < 0.1] = spec.zero_code
    extreme = rng.choice(ends(spec.w_format), lengths.size)
    return {
        "a": Beats(np.where(kind < 2, large, a)[:, None], last),
        "w": column(np.where(kind == 0, np.repeat(extreme, lengths), w)),
    }


def reference(spec: Log2Mac, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Accumulators by golden's reference, row by row."""
    import torch

    from golden.units.log2_mac import golden

    cuts = np.flatnonzero(inputs["a"].last)[:-1] + 1
    a, w = (np.split(inputs[name].codes[:, 0], cuts) for name in ("a", "w"))
    parameters = reference_parameters(golden, spec)
    acc = [
        golden(torch.from_numpy(codes)[None], torch.from_numpy(terms)[:, None], **parameters).item()
        for codes, terms in zip(a, w, strict=True)
    ]
    return {"o": column(np.array(acc))}
