"""What the tests of mac share: a small spec, its random operands, and formats."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from golden.formats import Integer
from sim.units.mac import Mac

FORMATS = st.builds(Integer, bits=st.integers(1, 20), signed=st.booleans())


def unit(**changes: Any) -> Mac:
    parameters: dict[str, Any] = {
        "a_format": Integer(bits=8, signed=False),
        "w_format": Integer(bits=4, signed=True),
        "a_zero_point": 0,
        "w_zero_point": 0,
        "acc_bits": 24,
    }
    return Mac(**parameters | changes)


def random_operands(spec: Mac, rng: np.random.Generator, m: int, n: int, k: int) -> tuple[Any, Any, Any]:
    a = rng.integers(spec.a_format.min_code, spec.a_format.max_code + 1, (m, k))
    w = rng.integers(spec.w_format.min_code, spec.w_format.max_code + 1, (n, k))
    return a, w, rng.integers(-999, 1000, n)
