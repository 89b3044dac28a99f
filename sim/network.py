"""Runs a program on a batch of images: every operation in order, in integers, every tensor checked."""

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import signature
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError, UserError
from golden.formats import Integer
from golden.program import Operation, Program, Tensor
from sim.checks import check_range
from sim.movement import move
from sim.products import one_thread
from sim.registry import unit_of
from sim.unit import Codes, Port

ALL = "all"
"""Value of `capture` that keeps every tensor."""
_SLICE = 8
"""Most images that go through the operations together: more need memory and save little time between operations."""
_KEPT_BYTES = 31 << 20
"""Largest array whose memory the next one may take over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What one batch gives."""

    logits: Codes
    """Codes of the output tensor, `[B, classes]`."""
    tensors: Mapping[str, Codes]
    """Captured activation tensors by name, with the batch axis in front."""


class _Computes(Protocol):
    @property
    def outputs(self) -> Mapping[str, Port]: ...

    def compute(self, *operands: Any, **named: Any) -> Codes: ...


@dataclass(frozen=True, slots=True)
class _Step:
    """One operation made ready."""

    operation: Operation
    unit: _Computes | None
    """None for movement."""
    constants: Mapping[str, Any]
    """Constant operands by input name, as the unit prepared them."""
    kind: Mapping[str, type[np.signedinteger[Any]]]
    """The type of the output's codes as an argument, where the unit takes one."""
    spent: tuple[str, ...]
    """Tensors nobody reads afterwards."""

    def run(self, live: Mapping[str, Codes]) -> Codes:
        operands = {
            name: self.constants[name] if name in self.constants else live[source]
            for name, source in self.operation.inputs.items()
        }
        if self.unit is None:
            return move(operands, self.operation.parameters)
        if len(operands) == 1:
            return self.unit.compute(*operands.values(), **self.kind)
        return self.unit.compute(**operands, **self.kind)


class Executor:
    """A program made ready once, to run many batches.

    Args:
        program: the model; its constants are used in place and must not change.

    Raises:
        InvariantError: an operation names an unknown unit or tensor, or parameters the unit refuses.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._steps = _prepare(program)

    def run(
        self, images: NDArray[Any], *, capture: Collection[str] = (), threads: int | None = None
    ) -> RunResult:
        """Runs a batch, each thread taking a few images at a time through all operations.

        Args:
            images: image codes `[B, C, H, W]`, any integer type.
            capture: names of the tensors to keep, or `"all"`.
            threads: how many; by default as many as this process may run on. The result does not depend on it.

        Returns:
            Logits `[B, classes]` and the captured tensors.

        Raises:
            UserError: the images have another shape, or a captured name is no tensor.
            InvariantError: a tensor leaves its declared shape or format.
        """
        kept = self._kept(capture)
        expected = self.program.tensors[self.program.input]
        if images.ndim != len(expected.shape) + 1 or images.shape[1:] != expected.shape or not images.size:
            raise UserError(
                f"images have shape {images.shape}, this program takes [batch, {_listed(expected)}]"
            )
        check_range(self.program.input, images, expected.format)
        # glibc gives a freed array back to the kernel, which must clear the next one's pages, unless it has seen
        # one as large freed before (up to 32 MiB). Never touched, this array itself costs nothing.
        np.empty(_KEPT_BYTES, np.uint8)
        workers = threads or len(os.sched_getaffinity(0))
        size = min(_SLICE, -(-len(images) // workers))  # no thread without work
        starts = range(0, len(images), size)
        with one_thread(), ThreadPoolExecutor(workers) as pool:
            slices = list(pool.map(lambda start: self._run(images[start : start + size], kept), starts))
        return RunResult(
            logits=_whole([part.logits for part in slices]),
            tensors={name: _whole([part.tensors[name] for part in slices]) for name in slices[0].tensors},
        )

    def _run(self, images: NDArray[Any], kept: Collection[str]) -> RunResult:
        """One slice of the batch."""
        input = self.program.input
        live = {input: images.astype(_kind(self.program.tensors[input].format), copy=False)}
        captured = {name: codes for name, codes in live.items() if name in kept}
        for step in self._steps:
            output = step.operation.output
            live[output] = self._execute(step, live, len(images))
            if output in kept:
                captured[output] = live[output]
            for name in step.spent:
                del live[name]
        logits = live[self.program.output].reshape(len(images), -1)
        return RunResult(logits=logits, tensors=captured)

    def _execute(self, step: _Step, live: Mapping[str, Codes], batch: int) -> Codes:
        """One operation's output, inside its declared shape and format."""
        operation = step.operation
        try:
            codes = step.run(live)
        except (InvariantError, ValueError, TypeError) as error:
            raise InvariantError(f"operation {operation.name}: {error}") from error
        declared = self.program.tensors[operation.output]
        if codes.shape != (batch, *declared.shape):
            raise InvariantError(
                f"operation {operation.name} gives {operation.output} of shape {codes.shape[1:]}, "
                f"not [{_listed(declared)}]"
            )
        check_range(operation.output, codes, declared.format)
        return codes.astype(_kind(declared.format), copy=False)

    def _kept(self, capture: Collection[str]) -> Collection[str]:
        if capture == ALL:
            return self.program.tensors
        if isinstance(capture, str):
            capture = (capture,)
        for name in capture:
            if name not in self.program.tensors:
                near = get_close_matches(name, self.program.tensors, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UserError(f"capture: the program has no tensor {name!r}{hint}")
        return capture


def run(program: Program, images: NDArray[Any], *, capture: Collection[str] = ()) -> RunResult:
    """Runs one batch of image codes `[B, C, H, W]`; see `Executor.run`."""
    return Executor(program).run(images, capture=capture)


def _prepare(program: Program) -> tuple[_Step, ...]:
    """Every operation with its unit, after checking that its operands exist when it runs."""
    last_use = {source: n for n, o in enumerate(program.operations) for source in o.inputs.values()}
    made = {program.input}
    steps = []
    for n, operation in enumerate(program.operations):
        for source in operation.inputs.values():
            if source not in made and source not in program.constants:
                raise InvariantError(f"operation {operation.name} reads {source!r} before anything makes it")
        if operation.output in made or operation.output not in program.tensors:
            raise InvariantError(f"operation {operation.name} makes {operation.output!r} twice or undeclared")
        made.add(operation.output)
        # An output that nobody reads is spent at once, unless it is the program's.
        candidates = {*operation.inputs.values(), operation.output} & made
        spent = {name for name in candidates if last_use.get(name, n) == n} - {program.output}
        unit = None if operation.unit == "move" else cast(_Computes, unit_of(program, operation))
        prepare = getattr(unit, "prepare", lambda _, constant: constant)
        constants = {
            name: prepare(name, program.constants[source])
            for name, source in operation.inputs.items()
            if source not in made
        }
        kind = {}
        if unit and "kind" in signature(unit.compute).parameters:
            kind = {"kind": _kind(unit.outputs["o"].format)}
        steps.append(_Step(operation, unit, constants, kind, tuple(sorted(spent))))
    if program.output not in made:
        raise InvariantError(f"no operation makes the program's output {program.output!r}")
    return tuple(steps)


def _kind(format: Integer) -> type[np.signedinteger[Any]]:
    """Narrowest type that holds `format`: much of a run is reading and writing tensors."""
    kinds: tuple[type[np.signedinteger[Any]], ...] = (np.int16, np.int32)
    for kind in kinds:
        limits = np.iinfo(kind)
        if limits.min <= format.min_code and format.max_code <= limits.max:
            return kind
    return np.int64


def _whole(slices: Sequence[NDArray[Any]]) -> Codes:
    """The slices of one tensor after each other."""
    return np.concatenate(slices, dtype=np.int64)


def _listed(tensor: Tensor) -> str:
    return ", ".join(str(length) for length in tensor.shape)
