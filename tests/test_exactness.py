"""The key promise: the int64 reference and the simulator agree on every integer of every tensor of every image."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from golden.calibrate import Calibrated
from golden.digits import images
from golden.fakequant import FakeQuantizer, fakequant_logits
from golden.program import Program
from golden.reference import execute
from sim.network import Executor

WIDTHS = (4, 6, 8)
BATCH = 90
TENSORS = 97
"""Operations of the digits model's program; one fewer compared would be noticed."""


def codes_of(calibrated: Calibrated) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Image codes of the whole test split."""
    return calibrated.activations["patch_embed.input"].encode(images("test").images).numpy()


@pytest.mark.parametrize("bits", WIDTHS)
def test_golden_equals_sim_on_every_integer(
    bits: int, digits_calibrated: Callable[[int], Calibrated], digits_program: Callable[[int], Program]
) -> None:
    program, codes = digits_program(bits), codes_of(digits_calibrated(bits))
    executor, compared = Executor(program), dict.fromkeys(program.tensors, 0)
    differing = {}
    for start in range(0, len(codes), BATCH):
        batch = codes[start : start + BATCH]
        simulated = executor.run(batch, capture="all").tensors
        assert set(simulated) == set(program.tensors)
        assert np.array_equal(simulated[program.input], batch)
        compared[program.input] += batch.size
        for name, expected in execute(program, batch):
            compared[name] += expected.size
            assert simulated[name].shape == expected.shape
            differing[name] = differing.get(name, 0) + int((simulated[name] != expected).sum())
    # Each integer of each tensor, none left out, none twice.
    assert len(differing) == TENSORS == len(program.operations) == len(program.tensors) - 1
    assert compared == {name: 360 * int(np.prod(t.shape)) for name, t in program.tensors.items()}
    assert {name: count for name, count in differing.items() if count} == {}


@pytest.mark.parametrize("bits", WIDTHS)
def test_results_do_not_depend_on_the_batch(
    bits: int, digits_calibrated: Callable[[int], Calibrated], digits_program: Callable[[int], Program]
) -> None:
    codes, executor = codes_of(digits_calibrated(bits)), Executor(digits_program(bits))
    whole = executor.run(codes).logits
    assert whole.shape == (360, 10)
    sevens = [executor.run(codes[start : start + 7]).logits for start in range(0, 360, 7)]
    assert np.array_equal(np.concatenate(sevens), whole)
    for i in range(0, 360, 9):
        assert np.array_equal(executor.run(codes[i : i + 1]).logits, whole[i : i + 1])


def test_the_reference_does_not_depend_on_the_batch(
    digits_calibrated: Callable[[int], Calibrated], digits_program: Callable[[int], Program]
) -> None:
    program, codes = digits_program(4), codes_of(digits_calibrated(4))[:7]
    together = dict(execute(program, codes))
    for i in range(7):
        for name, expected in execute(program, codes[i : i + 1]):
            assert np.array_equal(together[name][i : i + 1], expected), name


@pytest.mark.parametrize("bits", WIDTHS)
def test_no_tensor_is_idle(
    bits: int, digits_calibrated: Callable[[int], Calibrated], digits_program: Callable[[int], Program]
) -> None:
    """Equality would mean nothing for tensors that hold one value."""
    tensors = (
        Executor(digits_program(bits)).run(codes_of(digits_calibrated(bits))[:16], capture="all").tensors
    )
    assert min(len(np.unique(values)) for values in tensors.values()) >= 10


@pytest.mark.parametrize("bits", [6, 8])
def test_integer_accuracy_is_that_of_fake_quantisation(
    bits: int, digits_calibrated: Callable[[int], Calibrated], digits_program: Callable[[int], Program]
) -> None:
    calibrated, split = digits_calibrated(bits), images("test")
    fake = fakequant_logits(calibrated, split.images, FakeQuantizer(calibrated)).argmax(-1)
    integer = torch.from_numpy(Executor(digits_program(bits)).run(codes_of(calibrated)).logits.argmax(-1))
    top1 = [100 * float((found == split.labels).double().mean()) for found in (fake, integer)]
    assert min(top1) > 90
    assert abs(top1[0] - top1[1]) <= 1.0
