"""The hardware that a schedule assumes: how many of each unit, and the clock; read from TOML."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from golden.errors import UserError
from sim.registry import operation_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """A matrix unit: `rows` × `columns` multiply-accumulators, each keeping one output until it is done."""

    rows: int
    """Rows of the left operand that are in work together."""
    columns: int
    """Columns of the output that are in work together."""

    @property
    def width(self) -> int:
        """Multiply-accumulates per cycle."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """An element-wise unit, `lanes` times side by side."""

    lanes: int
    """Codes per cycle."""

    @property
    def width(self) -> int:
        """Codes per cycle."""
        return self.lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """A row unit, `copies` times, each with a row of its own."""

    copies: int
    """Rows in work together."""

    @property
    def width(self) -> int:
        """Codes per cycle at most."""
        return self.copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The memory outside and the two buffers in front of it (docs/accelerator.md); latency is not modelled."""

    bandwidth_bytes_per_cycle: int
    """Bytes that cross per cycle, in or out."""
    weight_buffer_kib: int
    """For second operands of products, in KiB; with double buffering the hardware has it twice."""
    activation_buffer_kib: int
    """For the codes that wait for a matrix unit or a LayerNorm, in KiB."""
    double_buffered: bool
    """True: an operation's bytes cross while it computes, and the slower decides. False: one after the other."""

    def __post_init__(self) -> None:
        for name in ("bandwidth_bytes_per_cycle", "weight_buffer_kib", "activation_buffer_kib"):
            if getattr(self, name) < 1:
                raise ValueError(f"memory: {name} must be at least 1, not {getattr(self, name)}")

    def operation_cycles(self, compute: int, transfer: int) -> int:
        """Cycles of an operation that computes for `compute` cycles and moves its bytes for `transfer`."""
        return max(compute, transfer) if self.double_buffered else compute + transfer


MEMORY, EDGE = "memory", "edge"
"""The tables of the description that are no unit."""
Share = Array | Lanes | Copies
_SHARES: tuple[type[Share], ...] = (Array, Lanes, Copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """How much of each unit there is."""

    clock_mhz: int
    """Clock in MHz, at least 1; cycles do not depend on it."""
    shares: Mapping[str, Share]
    """Unit name -> how many of it."""
    memory: Memory | None = None
    """None: memory is not modelled, every operand is there when its unit wants it."""
    edge: Mapping[str, Share] = field(default_factory=dict)
    """Unit name -> how many of it serve what lies outside the blocks, and only that; other units serve both."""

    def __post_init__(self) -> None:
        if self.clock_mhz < 1:
            raise ValueError(f"clock_mhz must be at least 1, not {self.clock_mhz}")
        for unit, share in (*self.shares.items(), *self.edge.items()):
            for size in fields(share):
                if getattr(share, size.name) < 1:
                    raise ValueError(
                        f"{unit}: {size.name} must be at least 1, not {getattr(share, size.name)}"
                    )

    def share_of(self, operation: str, unit: str) -> Share | None:
        """What `operation` runs on; None where the accelerator has nothing of the kind."""
        return self.edge[unit] if is_edge(operation) and unit in self.edge else self.shares.get(unit)

    @classmethod
    def load(cls, path: Path | None = None) -> "Accelerator":
        """Reads a TOML file; without one, the description that comes with vitrtl.

        Raises:
            UserError: the file is missing or not TOML, or a key or value in it is wrong.
        """
        source = path or resources.files("sim") / "accelerators" / "default.toml"
        try:
            entries = tomllib.loads(source.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"{source} is not a readable accelerator description: {error}") from error
        clock_mhz = _positive(entries.pop("clock_mhz", None), f"{source}: clock_mhz")
        for name in entries:
            _known(name, ("clock_mhz", MEMORY, EDGE, *operation_units()), f"{source}:")
        memory = None if MEMORY not in entries else _memory(entries.pop(MEMORY), f"{source}: [{MEMORY}]")
        edge = _edge(entries.pop(EDGE, {}), f"{source}: [{EDGE}]")
        shares = {name: _share(table, f"{source}: [{name}]") for name, table in entries.items()}
        return cls(clock_mhz=clock_mhz, shares=shares, memory=memory, edge=edge)


def is_edge(operation: str) -> bool:
    """Whether an operation lies outside the blocks: patch embedding, patch merging, head, last norm.

    >>> is_edge("blocks.3.attn.qkv_acc"), is_edge("patch_embed.proj_acc")
    (False, True)
    """
    return "blocks." not in operation


def _share(table: Any, where: str) -> Share:
    """The kind of share whose keys the table has."""
    if not isinstance(table, dict):
        raise UserError(f"{where} must be a table, such as lanes = 32")
    keys = {kind: tuple(field.name for field in fields(kind)) for kind in _SHARES}
    for name in table:
        _known(name, [key for names in keys.values() for key in names], where)
    for kind, names in keys.items():
        if set(table) == set(names):
            return kind(**{name: _positive(value, f"{where} {name}") for name, value in table.items()})
    choices = ", or ".join(" and ".join(names) for names in keys.values())
    raise UserError(f"{where} has {', '.join(table) or 'no key'}; it needs {choices}")


def _edge(table: Any, where: str) -> dict[str, Share]:
    """One share for each unit in the table."""
    if not isinstance(table, dict):
        raise UserError(f"{where} must hold tables of units, such as [{EDGE}.mac]")
    for name in table:
        _known(name, operation_units(), where)
    return {name: _share(entry, f"{where[:-1]}.{name}]") for name, entry in table.items()}


def _memory(table: Any, where: str) -> Memory:
    """The table's own keys, all of them."""
    keys = [field.name for field in fields(Memory)]
    if not isinstance(table, dict):
        raise UserError(f"{where} must be a table with {', '.join(keys)}")
    for name in table:
        _known(name, keys, where)
    double_buffered = table.get("double_buffered")
    if type(double_buffered) is not bool:
        shown = "missing" if double_buffered is None else repr(double_buffered)
        raise UserError(f"{where} double_buffered is {shown}; it must be true or false")
    sizes = {
        name: _positive(table.get(name), f"{where} {name}") for name in keys if name != "double_buffered"
    }
    return Memory(**sizes, double_buffered=double_buffered)


def _positive(value: object, where: str) -> int:
    if type(value) is not int or value < 1:
        shown = "missing" if value is None else repr(value)
        raise UserError(f"{where} is {shown}; it must be a whole number from 1")
    return value


def _known(name: str, known: Iterable[str], where: str) -> None:
    names = list(known)
    if name not in names:
        near = get_close_matches(name, names, n=1, cutoff=0)[0]
        raise UserError(f"{where} unknown key {name!r}; the nearest known one is {near!r}")
