"""Where accuracy goes: signal to quantisation noise of every site, fake-quantised and integer, against float."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from golden.agreement import site_values
from golden.calibrate import Calibrated
from golden.fakequant import FakeRecorder
from golden.model import Recorder, forward
from golden.program import Program


@dataclass(slots=True)
class _Noise:
    signal: float = 0.0
    fakequant: float = 0.0
    integer: float = 0.0


@dataclass(slots=True, eq=False)
class FidelityMeter:
    """Accumulates signal and noise power per site over batches.

    `calibrated` has hardware zero, as the program's codes do. The reference is the float model after
    reparameterisation: the same function as the original, in the
    coordinates that the codes decode to.
    """

    calibrated: Calibrated
    program: Program
    sites: dict[str, _Noise] = field(default_factory=dict)

    def add(self, images: Tensor, tensors: Mapping[str, NDArray[np.int64]]) -> None:
        """One batch: normalised `images` [B, C, H, W] and the program's tensors for them."""
        reference, fake = Recorder(), FakeRecorder(self.calibrated)
        forward(self.calibrated.model, images, reference)
        forward(self.calibrated.model, images, fake)
        for name, tensor in self.program.tensors.items():
            if tensor.site is None:
                continue
            signal = reference.values[name].double()
            decoded = site_values(self.calibrated, self.program, tensors, name).reshape(signal.shape)
            noise = self.sites.setdefault(name, _Noise())
            noise.signal += float(signal.square().sum())
            noise.fakequant += float((fake.values[name].double() - signal).square().sum())
            noise.integer += float((decoded - signal).square().sum())

    def decibels(self) -> list[tuple[str, float | None, float | None]]:
        """(site, fake-quant dB, integer dB) in the model's order; None where there is no noise or no signal."""
        return [
            (s, _decibels(n.signal, n.fakequant), _decibels(n.signal, n.integer))
            for s, n in self.sites.items()
        ]


def _decibels(signal: float, noise: float) -> float | None:
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
