"""One quantised run of a workload: calibrate, fake-quantise, lower, simulate, compare, count cycles."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden.agreement import SiteAgreement, site_agreement
from golden.calibrate import Calibrated, calibrate
from golden.errors import InvariantError
from golden.fakequant import FakeQuantizer, fakequant_logits
from golden.fidelity import FidelityMeter
from golden.images import LabelledImages
from golden.lowering import lower
from golden.model import sites_of
from golden.overflow import OverflowMeter
from golden.program import Program
from golden.reconstruction import module_names, reconstruct
from golden.reference import execute
from reports.checkpoint import FOLDER, key_of
from reports.choice import Bits
from reports.networks import Network, fakequant_network, float_network, integer_network
from reports.predictions import Pass, Predictions, digest_of, here, predict_all
from reports.progress import bar
from reports.results import (
    FLOAT,
    Accuracy,
    Agreement,
    Exactness,
    LayerCycles,
    Level,
    Overflow,
    SiteFidelity,
    Speed,
    Tables,
)
from reports.tables import FLOAT64_PAIR, slug
from reports.workload import Workload
from sim.accelerator import Accelerator
from sim.network import Executor
from sim.schedule import schedule


@dataclass(slots=True, eq=False)
class Evaluation:
    """Evaluates a workload run by run and collects the rows of its results."""

    workload: Workload
    accelerator: Accelerator
    batch_size: int
    checked_images: int
    """First images whose every tensor is compared: golden with sim, and with fake quantisation."""
    out: Path
    float64_images: int = 0
    """First images that the fake-quantised model sees in float64 as well: how far float rounding alone moves it."""
    save_programs: bool = True
    """Each run's program as a file in `out`: 46 MB for DeiT-Tiny, its constants being int64."""
    go: Pass = here
    """How the passes over all images are made; everything else is done in this process."""
    part: LabelledImages | None = None
    """The images to predict where they are one shard of the workload's; those compared are the same in every shard."""
    rows: dict[str, list[object]] = field(default_factory=dict)
    predictions: dict[tuple[str, Level], Predictions] = field(default_factory=dict)
    """(run, level) -> its pass over the images."""

    def add(self, table: str, row: object) -> None:
        """One more row of a table of the results."""
        self.rows.setdefault(table, []).append(row)

    def tables(self) -> Tables:
        """All rows so far."""
        return Tables(**{name: tuple(rows) for name, rows in self.rows.items()})  # type: ignore[arg-type]

    def float_baseline(self) -> None:
        """Top-1 of the float model."""
        model = self.workload.model
        self._predict("float", FLOAT, "float", float_network(model), "float")

    def run(self, bits: Bits) -> "Run":
        """Everything for one pair of widths; the program is saved in `out`."""
        calibrated = self._calibrate(bits)
        label = bits.label
        program = self._lower(calibrated)
        # Before the long work: the accelerator may lack a unit that this program needs.
        cycles = schedule(program, self.accelerator)
        known = calibrated.digest
        paper = self._predict(
            f"{label} fake-quant",
            label,
            "fakequant",
            fakequant_network(calibrated),
            "fakequant",
            decided_by=known,
        )
        hardware_zero = calibrated.with_zero("hardware")
        if _same_codecs(calibrated, hardware_zero):
            hardware = self._record(label, "fakequant_hardware", paper)
        else:
            hardware = self._predict(
                f"{label} fake-quant, hardware zero",
                label,
                "fakequant_hardware",
                fakequant_network(hardware_zero),
                decided_by=known,
            )
        if self.float64_images:
            self._compare_float64(label, hardware_zero, hardware.classes)
        if self.save_programs:
            program.save(self.out / f"program_{bits.slug}.safetensors")
        executor = Executor(program)
        integer = self._predict(
            f"{label} integer",
            label,
            "integer",
            integer_network(executor),
            "sim",
            decided_by=program.digest(),
        )
        for name, other in (("fakequant", paper), ("fakequant_hardware", hardware)):
            same = integer.classes == other.classes
            percent = 100 * float(same.double().mean())
            self.add("agreement", Agreement(run=label, pair=f"integer/{name}", percent=percent, n=len(same)))
        captured = self._compare(label, hardware_zero, executor)
        for entry in cycles:
            self.add(
                "cycles",
                LayerCycles(
                    run=label,
                    layer=entry.operation,
                    unit=entry.unit,
                    cycles=entry.cycles,
                    utilisation=float(entry.utilisation),
                    operations=entry.work,
                ),
            )
        return Run(bits=bits, program=program, tensors=captured)

    def lowered(self, bits: Bits) -> "Run":
        """Calibrates and lowers only, and runs the checked images through sim: what RTL verification needs."""
        calibrated = self._calibrate(bits)
        program = self._lower(calibrated)
        images, _ = next(iter(self.workload.images.batches(self.checked_images)))
        tensors = Executor(program).run(encode(calibrated, images), capture="all").tensors
        return Run(bits=bits, program=program, tensors=tensors)

    def _lower(self, calibrated: Calibrated) -> Program:
        return lower(calibrated, self.workload.provenance, self.workload.accumulators)

    def _calibrate(self, bits: Bits) -> Calibrated:
        workload = self.workload
        names, scheme = sites_of(workload.model), workload.scheme
        fitted = [site for site, kind in names.activations.items() if scheme.format_at(site, kind)]
        with bar(f"{bits.label} calibrate", len(fitted) + len(names.layers)) as advance:
            calibrated = calibrate(
                workload.model,
                workload.calibration,
                workload.scheme,
                weight_bits=bits.weight,
                act_bits=bits.act,
                fitted=lambda _: advance(1),
            )
        settings, images = workload.scheme.reconstruction, workload.reconstruction
        if settings is None or images is None:
            return calibrated
        iterations = settings.iterations * len(module_names(workload.model))
        folder = self.out / FOLDER / f"{slug(bits.label)}_reconstruction"
        with bar(f"{bits.label} reconstruct", iterations) as advance:
            return reconstruct(
                calibrated, images, settings, seed=workload.seed, folder=folder, advance=advance
            )

    def _predict(
        self,
        description: str,
        run: str,
        level: Level,
        network: Network,
        implementation: str | None = None,
        decided_by: str = "",
    ) -> Predictions:
        """Predictions for all images; adds the accuracy, and the speed of `implementation` where named."""
        workload = self.workload
        images = workload.images if self.part is None else self.part
        file = self.out / FOLDER / f"{slug(run)}_{level}.npz"
        key = key_of(run, level, decided_by, *sorted(workload.provenance.items()))
        found = predict_all(description, network, images, self.batch_size, file, key, self.go)
        if implementation and found.timed:
            speed = {
                "run": run,
                "implementation": implementation,
                "images": found.timed,
                "seconds": found.seconds,
            }
            self.add("speed", Speed(**speed, threads=torch.get_num_threads()))  # type: ignore[arg-type]
        return self._record(run, level, found)

    def _record(self, run: str, level: Level, found: Predictions) -> Predictions:
        """Keeps what a pass over the images gave and adds its accuracy; returns it."""
        self.predictions[run, level] = found
        digest = digest_of(found.digests) if level == "integer" else None
        row = Accuracy.of(run=run, level=level, correct=found.correct, n=len(found.classes), logits=digest)
        self.add("accuracy", row)
        return found

    def _compare_float64(self, label: str, calibrated: Calibrated, float32: Tensor) -> None:
        """Predictions of the fake-quantised model in float64 against those in float32, for the first images."""
        exact, tap = replace(calibrated, model=calibrated.model.to(torch.float64)), FakeQuantizer(calibrated)
        wanted = min(self.float64_images, len(float32))
        found: list[Tensor] = []
        with bar(f"{label} fake-quant in float64", wanted) as advance:
            for images, _ in self.workload.images.batches(self.batch_size):
                found.append(fakequant_logits(exact, images.double(), tap).argmax(-1))
                advance(len(images))
                if sum(map(len, found)) >= wanted:
                    break
        same = torch.cat(found)[:wanted] == float32[:wanted]
        percent = 100 * float(same.double().mean())
        self.add("agreement", Agreement(run=label, pair=FLOAT64_PAIR, percent=percent, n=wanted))

    def _compare(
        self, label: str, calibrated: Calibrated, executor: Executor
    ) -> dict[str, NDArray[np.int64]]:
        """First images through golden, sim and fake quantisation; returns the first batch's tensors from sim."""
        program = executor.program
        wanted = min(self.checked_images, len(self.workload.images))
        meter, overflows = FidelityMeter(calibrated, program), OverflowMeter()
        agreements: dict[str, SiteAgreement] = {}
        compared = differing = done = 0
        first: dict[str, NDArray[np.int64]] | None = None
        with bar(f"{label} golden = sim, every tensor", wanted) as advance:
            for images, _ in self.workload.images.batches(self.batch_size):
                images = images[: wanted - done]
                codes = encode(calibrated, images)
                simulated = dict(executor.run(codes, capture="all").tensors)
                for name, reference in execute(program, codes, overflows.see):
                    compared += reference.size
                    differing += int((reference != simulated[name]).sum())
                for site in site_agreement(calibrated, program, simulated):
                    agreements[site.site] = agreements[site.site] + site if site.site in agreements else site
                meter.add(images, simulated)
                first = first or simulated
                done += len(images)
                advance(len(images))
                if done >= wanted:
                    break
        if first is None:
            raise InvariantError("no images were compared")
        tensors = len(program.operations)
        self.add("exactness", Exactness(run=label, tensors=tensors, integers=compared, differing=differing))
        for found in overflows.counts():
            self.add("overflows", Overflow(run=label, **asdict(found)))
        self._add_fidelity(label, meter, agreements)
        return first

    def _add_fidelity(
        self, label: str, meter: FidelityMeter, agreements: Mapping[str, SiteAgreement]
    ) -> None:
        for layer, (site, fakequant, integer) in enumerate(meter.decibels()):
            codes = agreements.get(site)
            self.add(
                "fidelity",
                SiteFidelity(
                    run=label,
                    layer=layer,
                    site=site,
                    sqnr_fakequant_db=fakequant,
                    sqnr_integer_db=integer,
                    code_mismatch_fraction=codes.different / codes.codes if codes else None,
                    code_mismatch_max=codes.largest if codes else None,
                ),
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What other commands need of one evaluated run."""

    bits: Bits
    program: Program
    tensors: Mapping[str, NDArray[np.int64]]
    """The program's tensors for the first batch of checked images."""


def encode(calibrated: Calibrated, images: Tensor) -> NDArray[np.int64]:
    """Image codes [B, C, H, W] of normalised images: the host's part of the work."""
    codes: NDArray[np.int64] = calibrated.activations["patch_embed.input"].encode(images).numpy()
    return codes


def _same_codecs(one: Calibrated, other: Calibrated) -> bool:
    """Both hold the very same codecs: without a log format zero makes no difference, and none to a prediction."""
    return all(other.activations[site] is codec for site, codec in one.activations.items())
