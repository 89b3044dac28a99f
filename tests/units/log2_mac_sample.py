"""What the tests of log2_mac share: a small spec and its random operands."""

from typing import Any

import numpy as np

from golden.formats import Integer
from sim.units.log2_mac import Log2Mac


def unit(**changes: Any) -> Log2Mac:
    parameters: dict[str, Any] = {
        "code_bits": 4,
        "steps_per_octave": 1,
        "frac_bits": 14,
        "w_format": Integer(bits=8, signed=False),
        "w_zero_point": 0,
        "acc_bits": 40,
    }
    return Log2Mac(**parameters | changes)


def random_operands(spec: Log2Mac, rng: np.random.Generator, m: int, k: int, n: int) -> tuple[Any, Any]:
    a = rng.integers(0, 1 << spec.code_bits, (m, k))
    w = rng.integers(spec.w_format.min_code, spec.w_format.max_code + 1, (k, n))
    return a, w
