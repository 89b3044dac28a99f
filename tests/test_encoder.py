"""Encoders: what all of them owe: streams that agree with whole tensors, any shape, cycles."""

import numpy as np
import pytest

from reports.registry import entry, unit_names
from sim.encoder import Encoder
from sim.unit import Unit

SPECS = [
    pytest.param(name, spec, id=f"{name}-{entry(name).report.label(spec)}")
    for name in unit_names()
    if issubclass(entry(name).model, Encoder)
    for spec in entry(name).report.SWEEP
]


def test_there_are_encoders() -> None:
    names = {param.values[0] for param in SPECS}
    assert {"two_scale_encoder", "sign_scale_encoder", "threshold_encoder"} <= names


@pytest.mark.parametrize(("name", "spec"), SPECS)
def test_streams_agree_with_whole_tensors(name: str, spec: Encoder) -> None:
    beats = entry(name).report.stimuli(spec, np.random.default_rng(1))["x"]
    codes = spec.compute(beats.codes[:, 0])
    out = spec.run(x=beats)["o"]
    assert out.codes[:, 0].tolist() == codes.tolist()
    assert out.last.all()
    count = len(codes)
    timing = spec.timing(x=beats)
    assert timing["x"].tolist() == list(range(count))
    assert timing["o"].tolist() == list(range(spec.latency, count + spec.latency))
    assert spec.cycles(count) == timing["o"][-1] + 1


@pytest.mark.parametrize(("name", "spec"), SPECS)
def test_shape_and_memory_order_do_not_matter(name: str, spec: Encoder) -> None:
    low, high = spec.in_format.min_code, spec.in_format.max_code
    x = np.random.default_rng(2).integers(low, high, (3, 4, 5), endpoint=True).transpose(2, 0, 1)
    codes = spec.compute(x)
    assert codes.shape == (5, 3, 4)
    assert codes.tolist() == [
        [[spec.compute(x[i, j, k]).item() for k in range(4)] for j in range(3)] for i in range(5)
    ]


def test_what_a_new_encoder_must_state() -> None:
    class Silent(Encoder):
        limits = {}  # noqa: RUF012

    silent: Unit = Silent(in_bits=2, code_bits=2)
    with pytest.raises(NotImplementedError, match="Silent states no encoding"):
        silent.compute(np.array([1]))  # type: ignore[attr-defined]
