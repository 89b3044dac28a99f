"""Toggles of every net while a circuit takes real beats; zero delay, hence without glitches.

Streams as in cosimulation without stalls: every input offers its next beat until it is taken, every output is
taken at once, after two cycles of reset. What the outputs give is compared with the unit's model: a netlist that
differs has no energy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from reports.energy.circuit import Circuit
from reports.synthesis.area import SynthesisError
from sim.unit import Beats, Port, Unit

RESET_CYCLES = 2
MARGIN = 1000
"""Cycles beyond those of the model after which the circuit is said to hang."""
Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What the nets did after reset."""

    cycles: int
    rises: NDArray[np.int64]
    """By net."""
    falls: NDArray[np.int64]


def activity(circuit: Circuit, spec: Unit, inputs: Mapping[str, Beats]) -> Activity:
    """Runs `inputs` through the circuit of `spec` until the last output beat.

    Raises SynthesisError when a beat is not the model's, or none comes for long.
    """
    outputs = spec.run(**inputs)
    cycles = 1 + max(int(when[-1]) for when in spec.timing(**inputs).values())
    ins = [_stream(circuit, name, port, inputs[name]) for name, port in spec.inputs.items()]
    outs = [_stream(circuit, name, port, outputs[name]) for name, port in spec.outputs.items()]
    rises, falls = np.zeros(circuit.nets, np.int64), np.zeros(circuit.nets, np.int64)
    done, stream, beat = _run(
        circuit.nets, circuit.node_out, circuit.node_tables, circuit.node_starts, circuit.node_inputs,
        circuit.holds, circuit.takes, circuit.ports["rst"][0], *_joined(ins), *_joined(outs),
        RESET_CYCLES, cycles + MARGIN, rises, falls,
    )  # fmt: skip
    if stream >= 0:
        raise SynthesisError(f"the netlist's beat {beat} of {list(spec.outputs)[stream]} is not the model's")
    if done < 0:
        raise SynthesisError(f"the netlist gives no further beat in {MARGIN} cycles more than the model")
    return Activity(cycles=int(done), rises=rises, falls=falls)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    valid: int
    ready: int
    payload: tuple[int, ...]
    bits: Bits
    """[beats, bits of the payload]"""


def _stream(circuit: Circuit, name: str, port: Port, beats: Beats) -> _Stream:
    payload = circuit.ports[f"{name}__payload"]
    return _Stream(
        valid=circuit.ports[f"{name}__valid"][0],
        ready=circuit.ports[f"{name}__ready"][0],
        payload=payload,
        bits=payload_bits(beats, port),
    )


def payload_bits(beats: Beats, port: Port) -> Bits:
    """Each beat as bits, lane 0 lowest, two's complement, `last` on top."""
    lanes = (beats.codes[:, :, None] >> np.arange(port.format.bits)) & 1
    bits = lanes.reshape(len(beats.codes), -1)
    if port.last:
        bits = np.concatenate((bits, beats.last[:, None]), axis=1)
    return np.ascontiguousarray(bits, np.uint8)


def _joined(streams: list[_Stream]) -> tuple[Any, ...]:
    """Streams as arrays: valid, ready, payload nets one after the other and where each begins, counts, beats."""
    widths = [len(stream.payload) for stream in streams]
    most = max(len(stream.bits) for stream in streams)
    bits = np.zeros((most, sum(widths)), np.uint8)
    starts = np.cumsum([0, *widths])
    for stream, start, width in zip(streams, starts, widths, strict=False):
        bits[: len(stream.bits), start : start + width] = stream.bits
    return (
        np.array([stream.valid for stream in streams]),
        np.array([stream.ready for stream in streams]),
        np.array([net for stream in streams for net in stream.payload]),
        starts,
        np.array([len(stream.bits) for stream in streams]),
        bits,
    )


@numba.njit(cache=True, nogil=True)
def _settle(values, out, tables, starts, inputs):  # type: ignore[no-untyped-def]
    """Evaluates every truth table once, in their order."""
    for n in range(out.size):
        row = np.uint64(0)
        for k in range(starts[n], starts[n + 1]):
            row |= np.uint64(values[inputs[k]]) << np.uint64(k - starts[n])
        values[out[n]] = (tables[n] >> row) & np.uint64(1)


@numba.njit(cache=True, nogil=True)
def _run(  # type: ignore[no-untyped-def]
    nets, out, tables, starts, inputs, holds, takes, reset,
    in_valid, in_ready, in_nets, in_starts, in_counts, in_bits,
    out_valid, out_ready, out_nets, out_starts, out_counts, out_bits,
    reset_cycles, limit, rises, falls,
):  # fmt: skip
    """Cycles to the last output beat, −1 at the limit; stream and beat of the first wrong one, −1 without."""
    values, before = np.zeros(nets, np.uint8), np.zeros(nets, np.uint8)
    values[1] = 1
    at_in, at_out = np.zeros(in_counts.size, np.int64), np.zeros(out_counts.size, np.int64)
    for net in out_ready:
        values[net] = 1
    for cycle in range(-reset_cycles, limit):
        values[reset] = cycle < 0
        for s in range(in_counts.size):
            offered = cycle >= 0 and at_in[s] < in_counts[s]
            values[in_valid[s]] = offered
            if offered:
                for k in range(in_starts[s], in_starts[s + 1]):
                    values[in_nets[k]] = in_bits[at_in[s], k]
        _settle(values, out, tables, starts, inputs)
        if cycle >= 0:
            for n in range(nets):
                if values[n] != before[n]:
                    if values[n]:
                        rises[n] += 1
                    else:
                        falls[n] += 1
            done = True
            for s in range(in_counts.size):
                if values[in_valid[s]] and values[in_ready[s]]:
                    at_in[s] += 1
            for s in range(out_counts.size):
                if values[out_valid[s]]:
                    if at_out[s] >= out_counts[s]:
                        return cycle + 1, s, at_out[s]
                    for k in range(out_starts[s], out_starts[s + 1]):
                        if values[out_nets[k]] != out_bits[at_out[s], k]:
                            return cycle + 1, s, at_out[s]
                    at_out[s] += 1
                done = done and at_out[s] == out_counts[s]
            if done:
                return cycle + 1, -1, -1
        before[:] = values
        for r in range(holds.size):
            values[holds[r]] = before[takes[r]]
    return -1, -1, -1
