"""Types that a run keeps its tensors in."""

from typing import Any

import numpy as np
import pytest

from golden.formats import Integer
from sim.network import _kind


@pytest.mark.parametrize(
    ("bits", "signed", "kind"),
    [
        (8, True, np.int16),
        (16, True, np.int16),
        (15, False, np.int16),
        (16, False, np.int32),
        (17, True, np.int32),
        (32, True, np.int32),
        (32, False, np.int64),
        (33, True, np.int64),
    ],
)
def test_the_narrowest_type_that_holds_a_format(bits: int, signed: bool, kind: Any) -> None:
    assert _kind(Integer(bits=bits, signed=signed)) is kind
