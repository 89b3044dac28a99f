"""One level of a model, ready to make logits here, or as a file from which a worker elsewhere makes the same."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden.calibrate import Calibrated
from golden.calibrated_file import load_calibrated, save_calibrated
from golden.codecs.uniform import UniformCodec
from golden.fakequant import FakeQuantizer, fakequant_logits
from golden.model import Model, Through, forward
from golden.program import Program
from sim.network import Executor

Kind = Literal["float", "fakequant", "integer"]
Logits = NDArray[Any]
"""[B, classes], float32 or int64; a prediction is the first index of a row's maximum."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """What makes the logits of images."""

    kind: Kind
    logits: Callable[[Tensor], Logits]
    """Of normalised images [B, C, H, W]."""
    save: Callable[[Path], None] | None
    """Writes the safetensors file that `load_network` reads; None: the model itself is all there is to know."""


def float_network(model: Model) -> Network:
    """The model as it was trained."""
    return Network(kind="float", logits=lambda images: forward(model, images, Through()).numpy(), save=None)


def fakequant_network(calibrated: Calibrated) -> Network:
    """The fake-quantised model."""
    tap = FakeQuantizer(calibrated)
    return Network(
        kind="fakequant",
        logits=lambda images: fakequant_logits(calibrated, images, tap).numpy(),
        save=lambda path: save_calibrated(calibrated, path),
    )


def integer_network(executor: Executor, threads: int | None = None) -> Network:
    """The program in sim, on `threads` threads or as many as the process may run on."""
    codec = image_codec(executor.program)

    def logits(images: Tensor) -> Logits:
        return executor.run(codec.encode(images).numpy(), threads=threads).logits

    return Network(kind="integer", logits=logits, save=executor.program.save)


def load_network(kind: Kind, model: Model, path: Path | None) -> Network:
    """The network that `Network.save` wrote to `path`, on one thread; `model` lends its function."""
    if path is None:
        return float_network(model)
    if kind == "fakequant":
        return fakequant_network(load_calibrated(path, model))
    return integer_network(Executor(Program.load(path)), threads=1)


def image_codec(program: Program) -> UniformCodec:
    """How the host encodes images for `program`, from what the program says of its input."""
    how, bits = program.decoding[program.input], program.tensors[program.input].format.bits
    scale = torch.tensor(float.fromhex(str(how["scale"])), dtype=torch.float32)
    return UniformCodec(bits=bits, scale=scale, zero_point=torch.tensor(int(how["zero_point"])))


def classes_of(logits: Logits) -> NDArray[np.int64]:
    """Class of every row: the first maximum, the tie rule of the program."""
    classes: NDArray[np.int64] = logits.argmax(-1).astype(np.int64)
    return classes
