"""Units and networks compute the same whatever multiplies."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import numpy as np
import pytest

from golden.formats import Integer
from golden.program import Program
from sim import products
from sim.network import Executor
from sim.products_torch import Engine, engines
from sim.units.mac import Mac
from sim.units.two_scale_mac import TwoScaleMac

ENGINES = {engine.name: engine for engine in engines()}
INT8 = ENGINES["int8"]


@contextmanager
def only(*chosen: Engine) -> Iterator[None]:
    """These engines, for products of any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "chosen", lambda: chosen)
        patch.setattr(products, "_WORTH", 0)
        yield


def test_units_that_decode_equal_the_kernel() -> None:
    spec = TwoScaleMac(code_bits=8, w_format=Integer(bits=8, signed=True), w_zero_point=0, acc_bits=40, shift=6,
                       signed_regions=True)  # fmt: skip
    rng = np.random.default_rng(4)
    a, w = rng.integers(0, 256, (3, 6, 20)), rng.integers(-128, 128, (5, 20))
    with only():
        expected = spec.compute(a=a, w=w)
    for engine in ENGINES.values():
        with only(engine):
            assert np.array_equal(spec.compute(a=a, w=w), expected)
            assert np.array_equal(spec.compute(a=a, w=spec.prepare("w", w)), expected)


def test_saturating_and_wrapping_accumulators_do_not_depend_on_the_engine() -> None:
    rng = np.random.default_rng(5)
    a, w = rng.integers(0, 256, (6, 20)), rng.integers(-128, 128, (5, 20))
    for overflow in ("wrap", "saturate"):
        spec = Mac(a_format=Integer(bits=8, signed=False), w_format=Integer(bits=8, signed=True), a_zero_point=0,
                   w_zero_point=0, acc_bits=16, overflow=overflow)  # fmt: skip
        with only():
            expected = spec.compute(a=a, w=w)
        with only(INT8):
            assert np.array_equal(spec.compute(a=a, w=spec.prepare("w", w)), expected)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_network_does_not_depend_on_engine_or_threads(
    digits_program: Callable[[int], Program], bits: int
) -> None:
    import torch

    program = digits_program(bits)
    low, high = program.tensors[program.input].format.min_code, program.tensors[program.input].format.max_code
    shape = (5, *program.tensors[program.input].shape)
    codes = np.random.default_rng(6).integers(low, high + 1, shape)
    before = torch.get_num_threads()
    with only():
        expected = Executor(program).run(codes, capture="all", threads=1).tensors
    for engine, threads in product(ENGINES.values(), (1, 3)):
        with only(engine):
            found = Executor(program).run(codes, capture="all", threads=threads).tensors
        assert all(np.array_equal(found[name], tensor) for name, tensor in expected.items())
        assert all(tensor.dtype == np.int64 for tensor in found.values())
    assert torch.get_num_threads() == before
