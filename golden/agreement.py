"""Does the integer datapath compute what the fake-quantised model computes? Asked site by site.

End-to-end predictions hide the answer: one flipped 4-bit code grows to a different network. So the fake-quantised model
runs in float64 and continues from every site with the integer program's own codes: each site's codes are compared with
what the definition makes of identical inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden.calibrate import Calibrated
from golden.model import Model, forward
from golden.program import Program

DTYPE = torch.float64
Tensors = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteAgreement:
    """How many codes of one site differ between the integer program and fake quantisation, from identical inputs."""

    site: str
    codes: int
    different: int
    largest: int
    """Largest distance between two codes, counted in the values that the format has between them."""

    def __add__(self, other: "SiteAgreement") -> "SiteAgreement":
        return replace(
            self,
            codes=self.codes + other.codes,
            different=self.different + other.different,
            largest=max(self.largest, other.largest),
        )


def site_agreement(calibrated: Calibrated, program: Program, tensors: Tensors) -> list[SiteAgreement]:
    """Compares every site of the integer `tensors` (name -> int64[B, ...], the image included), in order."""
    tap = _Continued(calibrated.with_zero("hardware"), program, tensors)
    pixels = calibrated.activations[program.input].decode(torch.from_numpy(tensors[program.input]), DTYPE)
    forward(_with_program_constants(calibrated.model.to(DTYPE), program), pixels, tap)
    return tap.found


def site_values(calibrated: Calibrated, program: Program, tensors: Tensors, site: str) -> Tensor:
    """Values float64 of the program's codes of `site`."""
    codes = torch.from_numpy(tensors[site])
    if site in calibrated.activations:
        return calibrated.activations[site].decode(codes, DTYPE)
    return codes.to(DTYPE) * float.fromhex(str(program.decoding[site]["scale"]))


def ranks(calibrated: Calibrated, site: str, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of each code's value among the values of its site's format; residual codes are positions already."""
    codec = calibrated.activations.get(site)
    if codec is None or codec.ordered:
        return codes
    values = codec.with_zero("hardware").decode(torch.arange(1 << codec.bits), DTYPE)
    # Two-scale formats have several codes for some values, and codes of neighbouring values may lie far apart.
    _, position = np.unique(values.numpy(), return_inverse=True)
    return position.astype(np.int64)[codes]


def _with_program_constants(model: Model, program: Program) -> Model:
    """`model` with the parameters that enter the residual stream as the program holds them: identical inputs."""
    held = {
        name: torch.from_numpy(program.constants[name]).to(DTYPE)
        * float.fromhex(str(program.decoding[name]["scale"]))
        for name in model.weights
        if name in program.decoding
    }
    return model.with_weights({**model.weights, **held})


class _Continued:
    """The tap that compares each site and goes on from the program's codes."""

    def __init__(self, calibrated: Calibrated, program: Program, tensors: Tensors) -> None:
        self.calibrated, self.program, self.tensors = calibrated, program, tensors
        self.found: list[SiteAgreement] = []

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        if site != self.program.input:
            self._compare(site, self._codes(site, x))
        return site_values(self.calibrated, self.program, self.tensors, site).reshape(x.shape)

    def weight(self, layer: str, w: Tensor) -> Tensor:
        codec = self.calibrated.weights[layer]
        # Encoded in the type they were calibrated in: in another, a tie may fall to the other side.
        return codec.decode(codec.encode(self.calibrated.model.weights[f"{layer}.weight"]), DTYPE)

    def _codes(self, site: str, x: Tensor) -> Tensor:
        if site in self.calibrated.activations:
            return self.calibrated.activations[site].encode(x)
        scale, format = (
            float.fromhex(str(self.program.decoding[site]["scale"])),
            self.program.tensors[site].format,
        )
        return torch.round(x / scale).clamp(format.min_code, format.max_code).to(torch.int64)

    def _compare(self, site: str, expected: Tensor) -> None:
        codes = self.tensors[site].reshape(expected.shape)
        difference = np.abs(
            ranks(self.calibrated, site, codes) - ranks(self.calibrated, site, expected.numpy())
        )
        self.found.append(
            SiteAgreement(
                site=site,
                codes=difference.size,
                different=int((difference > 0).sum()),
                largest=int(difference.max()),
            )
        )
