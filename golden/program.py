"""The program: a model lowered to integer tensors and unit parameters. No float, no torch.

Everything that executes a model (the int64 reference, the simulator, the RTL) runs this and nothing else.
Saved as one safetensors file: the integer constants as tensors, the rest as JSON metadata.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from golden.errors import UserError
from golden.formats import Integer

FORMAT = "vitrtl-program/1"
Parameter = int | bool | str | list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An activation between operations."""

    shape: tuple[int, ...]
    """Shape for one image; execution adds a leading batch axis."""
    format: Integer
    """Range of its integers, as derived at lowering."""
    site: str | None = None
    """Quantisation site this tensor belongs to (`blocks.0.attn.softmax`), where it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One run of one unit."""

    name: str
    """Unique, in the model's words: `blocks.0.attn.qkv`."""
    unit: str
    """Registry name of the unit, or `move` for pure addressing (docs/datapath.md)."""
    inputs: Mapping[str, str]
    """Port or argument name -> activation tensor or constant."""
    output: str
    """Name of the activation tensor it makes."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """The unit's frozen parameters, integers only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A whole model in integers."""

    tensors: Mapping[str, Tensor]
    constants: Mapping[str, NDArray[np.int64]]
    """Weights, biases, multipliers; int64 in memory whatever their width."""
    operations: tuple[Operation, ...]
    input: str
    """Tensor the image codes go into: [channels, height, width]."""
    output: str
    """Tensor of the logits: [1, classes]; the prediction is the first index of the maximum."""
    provenance: Mapping[str, Any]
    """Model, scheme, bits, calibration hash, versions: strings and integers."""
    decoding: Mapping[str, Mapping[str, str | int]]
    """How a reader outside turns codes into values, and the host encodes images: tensor -> kind, scale (a
    hexadecimal float string), zero_point. Execution never reads it."""

    def digest(self) -> str:
        """SHA-256 over everything that decides its results: constants and operations."""
        total = hashlib.sha256(json.dumps(self._header()["operations"], sort_keys=True).encode())
        for name in sorted(self.constants):
            total.update(name.encode())
            total.update(np.ascontiguousarray(self.constants[name]).tobytes())
        return total.hexdigest()

    def save(self, path: Path) -> None:
        """Writes one safetensors file, beside first and then renamed, so that no half file remains."""
        header = self._header()
        beside = path.with_name(path.name + ".partial")
        save_file({k: np.ascontiguousarray(v) for k, v in self.constants.items()}, beside,
                  metadata={"program": json.dumps(header, sort_keys=True)})  # fmt: skip
        os.replace(beside, path)

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "tensors": {
                name: {"shape": list(t.shape), "bits": t.format.bits, "signed": t.format.signed, "site": t.site}
                for name, t in self.tensors.items()
            },
            "operations": [
                {"name": o.name, "unit": o.unit, "inputs": dict(o.inputs), "output": o.output,
                 "parameters": dict(o.parameters)}
                for o in self.operations
            ],
            "input": self.input,
            "output": self.output,
            "provenance": dict(self.provenance),
            "decoding": {name: dict(how) for name, how in self.decoding.items()},
        }  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> "Program":
        """Reads what `save` wrote; a file of another kind or version is refused by name."""
        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("program", "{}"))
                constants = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError, json.JSONDecodeError) as error:
            raise UserError(f"{path} is not a readable vitrtl program: {error}") from error
        if header.get("format") != FORMAT:
            found = header.get("format", "no program header")
            raise UserError(f"{path} holds {found}, this version reads {FORMAT}; lower the model again")
        try:
            return cls(
                tensors={
                    name: Tensor(
                        shape=tuple(t["shape"]),
                        format=Integer(bits=t["bits"], signed=t["signed"]),
                        site=t["site"],
                    )
                    for name, t in header["tensors"].items()
                },
                constants=constants,
                operations=tuple(Operation(**o) for o in header["operations"]),
                input=header["input"],
                output=header["output"],
                provenance=header["provenance"],
                decoding=header["decoding"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path} is not a valid vitrtl program: {error}; lower the model again"
            ) from error
