"""Multiply-accumulators of decoded codes: what all of them owe: streams that agree with whole tensors, cycles."""

from itertools import pairwise

import numpy as np
import pytest

from golden.formats import Integer
from reports.registry import entry, unit_names
from sim.decoded_mac import DecodedMac

SPECS = [
    pytest.param(name, spec, id=f"{name}-{entry(name).report.label(spec)}")
    for name in unit_names()
    if issubclass(entry(name).model, DecodedMac)
    for spec in entry(name).report.SWEEP
]


def test_there_are_units_of_this_kind() -> None:
    assert {"two_scale_mac", "table_mac"} <= {param.values[0] for param in SPECS}


@pytest.mark.parametrize(("name", "spec"), SPECS)
def test_streams_agree_with_whole_tensors(name: str, spec: DecodedMac) -> None:
    streams = entry(name).report.stimuli(spec, np.random.default_rng(6))
    a, w, bias = (streams[stream].codes[:, 0] for stream in ("a", "w", "bias"))
    stops = (np.flatnonzero(streams["a"].last) + 1).tolist()
    rows = list(pairwise([0, *stops]))
    expected = [
        spec.compute(a=a[None, start:stop], w=w[None, start:stop], bias=bias[row : row + 1]).item()
        for row, (start, stop) in enumerate(rows)
    ]
    assert spec.run(**streams)["o"].codes[:, 0].tolist() == expected
    assert {stream: cycles.tolist() for stream, cycles in spec.timing(**streams).items()} == {
        "a": list(range(len(a))),
        "w": list(range(len(a))),
        "bias": [start for start, _ in rows],
        "o": [stop - 1 + spec.latency for stop in stops],
    }
    assert spec.cycles(3, 4) == 3 * 4 + spec.latency


@pytest.mark.parametrize(("name", "spec"), SPECS)
def test_ports_have_the_formats_of_what_moves(name: str, spec: DecodedMac) -> None:
    values = spec.values
    assert len(values) == 1 << spec.code_bits
    assert spec.value_format == Integer.holding(int(values.min()), int(values.max()))
    formats = {stream: port.format for stream, port in (spec.inputs | spec.outputs).items()}
    sums = Integer(bits=spec.acc_bits, signed=True)
    assert formats == {"a": spec.code_format, "w": spec.w_format, "bias": sums, "o": sums}
    assert [stream for stream, port in spec.inputs.items() if port.last] == ["a"]


def test_what_a_new_unit_must_state() -> None:
    class Silent(DecodedMac):
        pass

    with pytest.raises(NotImplementedError, match="Silent states no values"):
        Silent(code_bits=2, w_format=Integer(bits=2, signed=True), w_zero_point=0, acc_bits=8)
