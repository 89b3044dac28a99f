"""Does the integer datapath compute what the fake-quantised model computes? Asked site by site.

End-to-end predictions hide the answer: one flipped 4-bit code grows to a different network. So the fake-quantised model
runs in float64 and continues from every site with the integer program's own codes: each site's codes are compared with
what the definition makes of identical inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden.calibrate import Calibrated
from golden.codecs.base import Codec
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


@runtime_checkable
class SideList(Protocol):
    """A codec some of whose values travel beside the codes, in the program's tensor `{site}_outliers`."""

    def overlay(self, values: Tensor, words: Tensor) -> Tensor:
        """Decoded `values` with those that the list's `words` hold written over them."""
        ...

    def positions(self, values: Tensor) -> Tensor:
        """Places int64 of `values` in the order of the format's values, listed ones at their nearest code's."""
        ...


def site_values(calibrated: Calibrated, program: Program, tensors: Tensors, site: str) -> Tensor:
    """Values float64 of the program's codes of `site`, listed ones included."""
    codes, codec = torch.from_numpy(tensors[site]), calibrated.activations.get(site)
    if codec is None:
        return codes.to(DTYPE) * float.fromhex(str(program.decoding[site]["scale"]))
    values = codec.decode(codes, DTYPE)
    if isinstance(codec, SideList):
        return codec.overlay(values, torch.from_numpy(tensors[f"{site}_outliers"]))
    return values


def ranks(codec: Codec | None, codes: Tensor) -> Tensor:
    """Position of each code's value among the values of its format; residual codes are positions already."""
    if codec is None or codec.ordered:
        return codes
    values = codec.with_zero("hardware").decode(torch.arange(1 << codec.bits), DTYPE)
    # Two-scale formats have several codes for some values, and codes of neighbouring values may lie far apart.
    _, position = np.unique(values.numpy(), return_inverse=True)
    return torch.from_numpy(position.astype(np.int64))[codes]


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
        values = site_values(self.calibrated, self.program, self.tensors, site).reshape(x.shape)
        if site != self.program.input:
            self._compare(site, x, values)
        return values

    def weight(self, layer: str, w: Tensor) -> Tensor:
        codec = self.calibrated.weights[layer]
        # Encoded in the type they were calibrated in: in another, a tie may fall to the other side.
        return codec.decode(codec.encode(self.calibrated.model.weights[f"{layer}.weight"]), DTYPE)

    def _compare(self, site: str, x: Tensor, values: Tensor) -> None:
        """The program's codes with the definition's of `x`; values instead where codes alone do not tell them."""
        codec = self.calibrated.activations.get(site)
        if isinstance(codec, SideList):
            # By value: an outlier on one side only is as far off as its value, whatever its code is.
            found, expected = codec.positions(values), codec.positions(codec.fake(x))
        else:
            codes = torch.from_numpy(self.tensors[site]).reshape(x.shape)
            wanted = self._residual_codes(site, x) if codec is None else codec.encode(x)
            found, expected = ranks(codec, codes), ranks(codec, wanted)
        difference = (found - expected).abs()
        self.found.append(
            SiteAgreement(
                site=site,
                codes=difference.numel(),
                different=int((difference > 0).sum()),
                largest=int(difference.max()),
            )
        )

    def _residual_codes(self, site: str, x: Tensor) -> Tensor:
        scale = float.fromhex(str(self.program.decoding[site]["scale"]))
        format = self.program.tensors[site].format
        return torch.round(x / scale).clamp(format.min_code, format.max_code).to(torch.int64)
