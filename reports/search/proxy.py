"""The proxy: what a configuration costs and about how good it is, from a few images and without the simulator."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from golden.calibrate import Calibrated, calibrate
from golden.fakequant import FakeRecorder
from golden.images import calibration_batch
from golden.lowering import lower
from golden.model import Model, Recorder, forward
from golden.program import Program
from golden.scheme import Scheme
from reports.choice import Bits
from reports.row import Amount, Fraction, Positive, Row
from reports.workload import Workload
from sim.accelerator import Accelerator
from sim.schedule import cycles_per_image, schedule

NOISELESS_DB = 200.0
"""Stands for no noise at all, beyond what float32 can show."""


class Estimate(Row):
    """Quality of a configuration by proxy, and its costs that need no synthesis."""

    logits_db: float
    """Signal to quantisation noise of the logits: what a search maximises."""
    sites_db: float
    """The same of every site, its mean over sites."""
    agreement: Fraction
    """Share of the images for which float and fake quantisation predict the same class."""
    weight_kib: Amount
    """All weights at their widths."""
    cycles: Positive
    """Per image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proxy:
    """Fake quantisation with hardware zero against the float model, on images of the calibration set."""

    workload: Workload
    accelerator: Accelerator
    images: Tensor
    """Normalised float32 [N, C, H, W]."""

    def lowered(self, scheme: Scheme, bits: Bits) -> tuple[Calibrated, Program]:
        """Calibrates and lowers.

        Raises:
            UserError: a format cannot be fitted to a site.
            InvariantError: a width that the datapath's bounds forbid.
            ValueError: likewise, found by a unit.
        """
        workload = self.workload.with_scheme(scheme)
        calibrated = calibrate(
            workload.model, workload.calibration, scheme, weight_bits=bits.weight, act_bits=bits.act
        )
        return calibrated, lower(calibrated, workload.provenance, workload.accumulators)

    def estimate(self, calibrated: Calibrated, program: Program) -> Estimate:
        """Fake-quantises the images; `program` is that of `calibrated`.

        Raises:
            UserError: the accelerator lacks a unit.
        """
        logits_db, sites_db, agreement = self._quality(calibrated.with_zero("hardware"))
        return Estimate(
            logits_db=logits_db,
            sites_db=sites_db,
            agreement=agreement,
            weight_kib=weight_kib(self.workload.model, calibrated),
            cycles=cycles_per_image(schedule(program, self.accelerator)),
        )

    def _quality(self, calibrated: Calibrated) -> tuple[float, float, float]:
        # The reference has the calibrated parameters: the same function, in the coordinates that codes decode to.
        reference, fake = Recorder(), FakeRecorder(calibrated)
        logits = forward(calibrated.model, self.images, reference)
        noisy = forward(calibrated.model, self.images, fake)
        sites = [decibels(reference.values[site], fake.values[site]) for site in calibrated.activations]
        same = (logits.argmax(-1) == noisy.argmax(-1)).double().mean()
        return decibels(logits, noisy), sum(sites) / len(sites), float(same)


def proxy_of(workload: Workload, accelerator: Accelerator, count: int) -> Proxy:
    """The proxy on `count` images, or as many as there are, of another draw than the calibration's."""
    source = workload.calibration_source
    images = calibration_batch(source, min(count, len(source)), seed=workload.seed + 1)
    return Proxy(workload=workload, accelerator=accelerator, images=images)


def decibels(signal: Tensor, quantised: Tensor) -> float:
    """10 log10 of signal power over the power of the difference, at most NOISELESS_DB.

    >>> import torch
    >>> decibels(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]))
    20.0
    """
    power = float(signal.double().square().sum())
    noise = float((signal.double() - quantised.double()).square().sum())
    if power <= 0 or noise <= 0:
        return NOISELESS_DB
    return min(10 * math.log10(power / noise), NOISELESS_DB)


def weight_kib(model: Model, calibrated: Calibrated) -> float:
    """KiB of all weights at the width of each layer; biases and multipliers are the same at every width."""
    widths: Mapping[str, int] = {layer: codec.bits for layer, codec in calibrated.weights.items()}
    return sum(model.weights[f"{layer}.weight"].numel() * bits for layer, bits in widths.items()) / 8192
