"""Bytes that cross the chip's edge per operation and image, from a program's shapes and formats alone.

Codes are stored packed, `bits` each. What a matrix unit or a LayerNorm reads is **stored** whole, between the operation
that makes it and the last that reads it; everything else (accumulators, scores, what encoders and adders pass on) goes
from unit to unit, tile by tile or row by row, and has no place in a buffer. Movements are other addresses of the same
codes, and what a requantizer only decodes from a site's codes (`channel_shift`) is stored as those codes.

* A stored tensor stays in the activation buffer where it fits beside those in it that are still to be read, decided
  when it is made, in the program's order. Otherwise it is **spilled**: written once, read from outside by each reader.
  The image comes from outside, once where it fits, and the logits go there in any case.
* Constants are read once per image by every operation that has them: weights at the width of their codes, whose zero
  points lie apart; constants that are added to activations in the activations' format; all others as 64-bit words.
* A product whose second operand fits the weight buffer whole takes each operand once. One of which only a strip of the
  array's columns fits takes the second operand once, and the first once per strip where it is spilled. Where not even a
  strip fits, the second operand is read again for every array's height of rows as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from golden.program import Operation, Program
from sim.accelerator import Array, Memory
from sim.matrix import is_product, matrix_shape

WORD_BITS = 64
"""Width of a multiplier, offset, shift, gain or bias: what a program stores, and an upper bound of what they need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes that one operation moves across the chip's edge, per image."""

    constants: int
    """Weights and other constants, read."""
    activations: int
    """Codes read and written: the image, logits, and what is spilled."""

    @property
    def total(self) -> int:
        """All bytes."""
        return self.constants + self.activations


class Passes(NamedTuple):
    """How often a product reads each operand that lies outside."""

    a: int
    w: int


class Placement:
    """Where the stored tensors of a program lie beside a `memory`, and what each operation therefore moves."""

    def __init__(self, program: Program, memory: Memory) -> None:
        self.memory, self._program = memory, program
        self._maker = {operation.output: operation for operation in program.operations}
        self._stored = self._find_stored()
        self._spilled = self._find_spilled()
        readers = (
            o for o in program.operations for _, view in self._views(o) if self._root(view) == program.input
        )
        self._first_reader = next(readers, None)

    def traffic(self, operation: Operation, array: Array | None) -> Traffic:
        """What `operation` moves; `array` is the share of a matrix unit."""
        times = {} if array is None else self._passes(operation, array)._asdict()
        constants = sum(size * times.get(port, 1) for port, size in self._constants(operation))
        activations = sum(
            self._bytes(view) * times.get(port, 1)
            for port, view in self._views(operation)
            if self._root(view) in self._spilled
        )
        if operation is self._first_reader and self._program.input not in self._spilled:
            activations += self._bytes(self._program.input)
        output = self._root(operation.output)
        if output == operation.output and output in self._spilled:
            activations += self._bytes(output)
        return Traffic(constants=constants, activations=activations)

    def _find_stored(self) -> frozenset[str]:
        """The input, the output, and what matrix units and LayerNorms read."""
        readers = [o for o in self._program.operations if is_product(o) or o.unit == "layernorm"]
        read = {self._root(view) for operation in readers for _, view in self._views(operation)}
        return frozenset(read | {self._program.input, self._root(self._program.output)})

    def _find_spilled(self) -> frozenset[str]:
        """The stored tensors that the activation buffer has no room for when they are made, and the logits."""
        program, room = self._program, self.memory.activation_buffer_kib << 10
        last, end = dict[str, int](), len(program.operations)
        for place, operation in reversed([*enumerate(program.operations, 1)]):
            # What an operation reads is needed until the next stored tensor is whole: in between, tiles take turns.
            end = place if operation.output in self._stored else end
            for _, view in self._views(operation):
                last.setdefault(self._root(view), end)
        kept, spilled = dict[str, int](), {self._root(program.output)}
        for place, name in enumerate((program.input, *(o.output for o in program.operations))):
            kept = {other: size for other, size in kept.items() if last[other] >= place}
            if name in self._stored - spilled:
                if sum(kept.values()) + self._bytes(name) <= room:
                    kept[name] = self._bytes(name)
                else:
                    spilled.add(name)
        return frozenset(spilled)

    def _root(self, name: str) -> str:
        """The tensor whose codes `name` addresses or decodes; an input that is only moved is its own."""
        maker = self._maker.get(name)
        if maker is None:
            return name
        if maker.unit == "move" and "rows" not in maker.inputs:
            return self._root(maker.inputs["x"])
        if maker.unit == "requantizer":
            codes = self._root(maker.inputs["acc"])
            if self._program.tensors[codes].site is not None:
                return codes
        return name

    def _views(self, operation: Operation) -> Iterator[tuple[str, str]]:
        """(port, tensor) of the stored codes that an operation reads; a decoder's are handed to it."""
        if operation.unit == "move" or self._root(operation.output) != operation.output:
            return
        for port, name in operation.inputs.items():
            if name in self._program.tensors:
                yield port, name

    def _constants(self, operation: Operation) -> Iterator[tuple[str, int]]:
        """(port, bytes) of an operation's constants, and of the rows that a movement puts before its operand."""
        program = self._program
        for port, name in operation.inputs.items():
            if name in program.constants:
                yield port, _packed(program.constants[name].size, self._constant_bits(operation, port))
            elif (maker := self._maker.get(name)) is not None and "rows" in maker.inputs:
                rows = program.constants[maker.inputs["rows"]]
                yield port, _packed(rows.size, program.tensors[name].format.bits)

    def _constant_bits(self, operation: Operation, port: str) -> int:
        """Width of one entry of the constant at `port`."""
        if operation.unit == "residual_adder":
            return self._program.tensors[operation.output].format.bits
        if port != "w":
            return WORD_BITS
        # A channel's codes span 2^bits - 1 steps, wherever its zero point lies; log2_mac has channels in columns.
        weights = one_of_each(self._program.constants[operation.inputs[port]])
        span = np.ptp(weights, axis=0 if operation.unit == "log2_mac" else 1)
        return max(1, int(span.max()).bit_length())

    def _bytes(self, name: str) -> int:
        """Packed size of the part of its root's codes that tensor `name` addresses."""
        tensors = self._program.tensors
        return _packed(prod(tensors[name].shape), tensors[self._root(name)].format.bits)

    def _passes(self, operation: Operation, array: Array) -> Passes:
        """By what of the second operand fits its buffer: all of it, a strip, or less."""
        shape, room = matrix_shape(self._program, operation), self.memory.weight_buffer_kib << 10
        sizes = [size for port, size in self._constants(operation) if port == "w"]
        whole = sizes[0] if sizes else -(-self._bytes(operation.inputs["w"]) // shape.groups)
        if whole <= room:
            return Passes(1, 1)
        strips = -(-shape.columns // array.columns)
        strip = -(-whole * array.columns // shape.columns)
        return Passes(strips, 1 if strip <= room else -(-shape.rows // array.rows))


def one_of_each(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """`values` with one entry along every axis that it is broadcast along: the same range in less time."""
    return values[tuple(slice(None if stride else 1) for stride in values.strides)]


def _packed(count: int, bits: int) -> int:
    """Bytes of `count` codes of `bits` bits, one behind the other."""
    return -(-count * bits // 8)
