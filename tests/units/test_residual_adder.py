"""residual_adder: every pair of codes, saturation at both ends, constants, streams and cycles."""

from typing import Any

import numpy as np
import pytest

from golden.errors import InvariantError
from sim.unit import Beats
from sim.units import residual_adder
from sim.units.residual_adder import ResidualAdder


def definition(bits: int, a: int, b: int) -> int:
    """docs/datapath.md, residual_adder."""
    return sorted((-(2 ** (bits - 1)), a + b, 2 ** (bits - 1) - 1))[1]


def every_pair(bits: int) -> tuple[Any, Any]:
    codes = np.arange(-(1 << (bits - 1)), 1 << (bits - 1))
    a, b = np.meshgrid(codes, codes)
    return a.reshape(1, -1), b.reshape(1, -1)


def expected(bits: int) -> list[int]:
    a, b = every_pair(bits)
    return [definition(bits, x, y) for x, y in zip(a[0].tolist(), b[0].tolist(), strict=True)]


def test_hand_worked() -> None:
    # 16 bits: 30000 + 2767 = 32767 fits; one more saturates; −30000 − 2768 = −32768 fits; one less saturates.
    a = np.array([[30000, 30000, -30000, -30000, 5]])
    b = np.array([[2767, 2768, -2768, -2769, -7]])
    assert ResidualAdder(bits=16).compute(a=a, b=b).tolist() == [[32767, 32767, -32768, -32768, -2]]


@pytest.mark.parametrize("bits", [2, 3, 7])
def test_every_pair(bits: int) -> None:
    a, b = every_pair(bits)
    assert ResidualAdder(bits=bits).compute(a=a, b=b)[0].tolist() == expected(bits)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("low), high)", "low), high - 1)"),
        ("low), high)", "low), high + 1)"),
        ("low), high)", "low + 1), high)"),
        ("+ addend[n]", "- addend[n]"),
        ("+ addend[n]", "+ addend[n - 1]"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, old: str, new: str) -> None:
    a, b = every_pair(4)
    mutate(residual_adder, "_add", old, new)
    assert ResidualAdder(bits=4).compute(a=a, b=b)[0].tolist() != expected(4)


def test_constant_is_added_to_every_image() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-99, 99, (3, 4, 5)), rng.integers(-99, 99, (4, 5))
    assert ResidualAdder(bits=16).compute(a=a, b=b).tolist() == (a + b).tolist()
    with pytest.raises(InvariantError, match=r"a \(3, 4, 5\) and b \(3, 4\) do not match"):
        ResidualAdder(bits=16).compute(a=a, b=rng.integers(0, 9, (3, 4)))


def test_operands_outside_their_format_raise() -> None:
    good, bad = np.array([[0]]), np.array([[128]])
    with pytest.raises(InvariantError, match=r"operand a spans \[128, 128\], outside s8"):
        ResidualAdder(bits=8).compute(a=bad, b=good)
    with pytest.raises(InvariantError, match="operand b"):
        ResidualAdder(bits=8).compute(a=good, b=bad)


def test_limits_are_accepted() -> None:
    assert [ResidualAdder(bits=bits).bits for bits in (2, 32)] == [2, 32]


def test_parameters_are_checked() -> None:
    for bits in (1, 33):
        with pytest.raises(ValueError, match=rf"bits must be in \[2, 32\], not {bits}"):
            ResidualAdder(bits=bits)


def test_streams_agree_with_whole_tensors() -> None:
    spec = ResidualAdder(bits=3)
    a, b = (codes.reshape(-1, 1) for codes in every_pair(3))
    streams = {name: Beats(codes, np.ones(64, np.bool_)) for name, codes in (("a", a), ("b", b))}
    assert spec.run(**streams)["o"].codes[:, 0].tolist() == expected(3)
    timing = spec.timing(**streams)
    assert timing["a"].tolist() == timing["b"].tolist() == list(range(64))
    assert timing["o"].tolist() == [n + spec.latency for n in range(64)]
    assert spec.cycles(64) == 64 + spec.latency
