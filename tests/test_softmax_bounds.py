"""softmax in 32 bits up to exactly its bound, and beyond it in 64: the same codes as golden's reference."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from golden.units.softmax import golden
from reports.registry import entry, reference_parameters
from sim.units.softmax import Softmax

SPEC: Softmax = next(spec for spec in entry("softmax").report.SWEEP if spec.lanes == 1)  # type: ignore[assignment]
FLAT: dict[str, Any] = {"exp_base": (1,), "exp_slope": (0,), "log_base": (0,), "log_slope": (0,)}
"""Tables so short that the level is all but the logarithm of the row's length."""


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize(("steps_per_octave", "log2_scale"), [(1, 0), (2, 1234), (1, -1234)])
def test_scores_too_wide_for_32_bits(lanes: int, steps_per_octave: int, log2_scale: int) -> None:
    spec = replace(
        SPEC,
        score_bits=30,
        lanes=lanes,
        steps_per_octave=steps_per_octave,
        log2_scale=log2_scale,
        code_bits=5,
    )
    assert not spec.narrow
    low, high = spec.score_format.min_code, spec.score_format.max_code
    rng = np.random.default_rng(3)
    scores = high - rng.integers(0, 16 << spec.score_frac_bits, (24, 12))
    scores[::3] -= 1 << 28
    scores[:, 3], scores[:, 7] = low, low + 1  # the lowest is no score with two lanes
    due = golden(torch.from_numpy(scores), **reference_parameters(golden, spec))
    codes = spec.compute(scores)
    assert codes.tolist() == due.tolist()
    assert len(np.unique(codes)) > 15


@pytest.mark.parametrize(
    ("changes", "narrow"),
    [
        # Distances up to 2^27 octaves' eighths with 3 more fraction bits: 2^30; one bit more of either is 2^31.
        ({"score_bits": 27, "score_frac_bits": 3, "log_frac_bits": 6}, True),
        ({"score_bits": 28, "score_frac_bits": 3, "log_frac_bits": 6}, False),
        ({"score_bits": 27, "score_frac_bits": 3, "log_frac_bits": 7}, False),
        # 2^30 and a level of up to 17 octaves of 2^24; with nearly 2^30 from the scale it is too much, at either end.
        ({"score_bits": 16, "score_frac_bits": 10, "log_frac_bits": 24}, True),
        (
            {
                "score_bits": 16,
                "score_frac_bits": 10,
                "log_frac_bits": 24,
                "log2_scale": (1 << 30) - 100_000_000,
            },
            False,
        ),
        ({"score_bits": 16, "score_frac_bits": 10, "log_frac_bits": 24, "log2_scale": -(1 << 30)}, False),
    ],
)
def test_32_bits_are_taken_where_they_hold_every_distance(changes: dict[str, Any], narrow: bool) -> None:
    base: dict[str, Any] = {**FLAT, "exp_bits": 1, "max_length": 65536, "log2_scale": 0, "code_bits": 8}
    spec = replace(SPEC, **base | changes)
    assert spec.narrow is narrow
    ends = spec.score_format.min_code + 1, spec.score_format.max_code
    row = np.array([*ends, *ends, 0])
    due = golden(torch.from_numpy(row), **reference_parameters(golden, spec))
    assert spec.compute(row).tolist() == due.tolist()
