"""GELU in reports: sweep over output bits, and a table without fraction bits; stimuli at every change of the code."""

from collections.abc import Mapping

import numpy as np

from golden.lowering.gelu_table import TABLE_FRAC_BITS, gelu_table
from reports.registry import reference_parameters
from reports.stimuli import column, ends, steps, stream, uniform
from sim.unit import Beats
from sim.units.gelu import Gelu


def _spec(out_bits: int) -> Gelu:
    """Output codes from −0.17, the least GELU, to 4: a range usual after GELU."""
    scale = 4.17 / (2**out_bits - 1)
    table = gelu_table(scale, out_bits)
    return Gelu(
        in_bits=table.in_bits,
        frac_bits=table.frac_bits,
        table_frac_bits=TABLE_FRAC_BITS,
        table=tuple(table.table),
        table_step=table.table_step,
        zero_point=round(0.17 / scale),
        out_bits=out_bits,
    )


SWEEP = [_spec(out_bits) for out_bits in (4, 6, 8)] + [
    # No fraction bits, so that the last place of the bump shows, in every code; fewer intervals than a power of two.
    Gelu(
        in_bits=6,
        frac_bits=0,
        table_frac_bits=0,
        table=(5, 9, 6, 4, 3, 0),
        table_step=2,
        zero_point=40,
        out_bits=7,
    )
]


def label(spec: Gelu) -> str:
    """Such as `s16-to-u8-t257`: input, output, table entries."""
    return f"s{spec.in_bits}-to-u{spec.out_bits}-t{len(spec.table)}"


def stimuli(spec: Gelu, rng: np.random.Generator) -> dict[str, Beats]:
    """Random; both sides of every change of the code; around the table's knots and its end; ends of the format."""
    format = spec.inputs["h"].format
    knots = np.arange(len(spec.table) + 1) << spec.table_step
    # Of the many knots those at both ends and some between.
    some = np.concatenate((knots[:3], knots[3:-3:16], knots[-3:]))
    near = np.concatenate([sign * some + step for sign in (1, -1) for step in (-1, 0, 1)])
    # Every code in reach of the output's changes; beyond the table it saturates or is 0.
    every = np.arange(max(format.min_code, -(1 << 17)), min(format.max_code, 1 << 17) + 1)
    changes = every[steps(spec.compute(h=every))]
    inside = near[(near >= format.min_code) & (near <= format.max_code)]
    return {"h": stream(uniform(format, rng, 100), changes, inside, np.array([*ends(format), 0]))}


def reference(spec: Gelu, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Codes by golden's reference."""
    import torch

    from golden.units.gelu import golden

    h = torch.from_numpy(inputs["h"].codes[:, 0])
    return {"o": column(golden(h, **reference_parameters(golden, spec)).numpy())}
