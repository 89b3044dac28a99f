"""What a command works on: a model, labelled images, a calibration batch and a scheme, checked before anything runs."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL.Image import Image
from torch import Tensor

from golden.digits import dataset
from golden.errors import UserError
from golden.families import from_timm
from golden.formats import Accumulators
from golden.images import ImageFolder, LabelledImages, calibration_batch
from golden.model import Model
from golden.pretrained import DIGITS, check_name, load_model, preprocessing
from golden.scheme import Scheme, load_scheme
from reports.choice import Choice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A model and the images it is evaluated on: what a worker of a cluster needs."""

    model: Model
    images: LabelledImages
    transform: Callable[[Image], Tensor]
    """From a decoded image to the model's input, normalised float32 [C, H, W]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """What the user chose, loaded."""

    name: str
    model: Model
    images: LabelledImages
    calibration: Tensor
    """Normalised float32 [count, C, H, W]."""
    reconstruction: Tensor | None
    """Likewise, for a scheme that reconstructs."""
    calibration_source: LabelledImages
    """What both were drawn from."""
    seed: int
    """Of the draw."""
    scheme: Scheme
    provenance: dict[str, str | int]
    """What the program should remember of where it came from."""
    accumulators: Accumulators | None = None
    """Widest that the hardware has; None: as wide as the sums need."""

    def check_enough(self, scheme: Scheme) -> None:
        """UserError where `scheme` asks for more images than there are to calibrate on."""
        _check_enough(scheme, self.calibration_source)

    def with_scheme(self, scheme: Scheme) -> "Workload":
        """The same work under another scheme, on as many calibration images as that one asks for."""
        count, calibration = scheme.calibration.images, self.calibration
        if count != len(calibration):
            calibration = calibration_batch(self.calibration_source, count, seed=self.seed)
        reconstruction = _reconstruction(self.calibration_source, scheme, self.seed)
        return replace(self, scheme=scheme, calibration=calibration, reconstruction=reconstruction)

    def with_accumulators(self, accumulators: Accumulators | None) -> "Workload":
        """The same work on `accumulators`, which the provenance then names."""
        if accumulators is None:
            return self
        named: dict[str, str | int] = {"acc_bits": accumulators.bits, "acc_overflow": accumulators.overflow}
        return replace(self, accumulators=accumulators, provenance=self.provenance | named)


def load_workload(choice: Choice) -> Workload:
    """Loads everything `choice` names; UserError on the first thing that is wrong."""
    scheme = load_scheme(choice.scheme)
    if choice.model != DIGITS:
        check_name(choice.model)
        if choice.images is None or choice.calib is None:
            raise UserError(
                f"--images and --calib are needed with --model {choice.model}; only {DIGITS} carries its own"
            )
    subject = load_subject(choice)
    model = subject.model
    if choice.calib is None:
        source: LabelledImages = dataset.images("calib")
    else:
        source = ImageFolder(
            root=choice.calib,
            transform=subject.transform,
            class_count=model.classes,
            class_map=choice.class_map,
        )
    _check_enough(scheme, source)
    return Workload(
        name=choice.model,
        model=model,
        images=subject.images,
        calibration=calibration_batch(source, scheme.calibration.images, seed=choice.seed),
        reconstruction=_reconstruction(source, scheme, choice.seed),
        calibration_source=source,
        seed=choice.seed,
        scheme=scheme,
        provenance={
            "model": choice.model,
            "parameters_sha256": parameters_digest(model),
            "seed": choice.seed,
        },
    )


def load_subject(choice: Choice) -> Subject:
    """Loads the model and the images to evaluate; UserError on the first thing that is wrong."""
    original = load_model(choice.model, choice.weights)
    model, transform = from_timm(original), preprocessing(original).transform
    if choice.images is None:
        return Subject(model=model, images=_limited_digits(choice.limit), transform=transform)
    images = ImageFolder(
        root=choice.images,
        transform=transform,
        class_count=model.classes,
        class_map=choice.class_map,
        limit=choice.limit,
    )
    return Subject(model=model, images=images, transform=transform)


def _check_enough(scheme: Scheme, source: LabelledImages) -> None:
    settings = scheme.reconstruction
    count = max(scheme.calibration.images, settings.images if settings else 0)
    if count > len(source):
        raise UserError(
            f"scheme {scheme.name} needs {count} images, but {source.describe()} has only {len(source)}; "
            "give --calib a larger folder"
        )


def _reconstruction(source: LabelledImages, scheme: Scheme, seed: int) -> Tensor | None:
    """The images that `scheme` reconstructs on, those of its calibration among them where they are no fewer."""
    settings = scheme.reconstruction
    return None if settings is None else calibration_batch(source, settings.images, seed=seed)


def _limited_digits(limit: int | None) -> LabelledImages:
    images = dataset.images("test")
    if limit is None or limit >= len(images):
        return images
    raise UserError(f"--limit {limit} applies to --images; the digits' test split is always run whole")


def parameters_digest(model: Model) -> str:
    """SHA-256 over all parameters."""
    total = hashlib.sha256()
    for name in sorted(model.weights):
        total.update(name.encode())
        total.update(model.weights[name].numpy().tobytes())
    return total.hexdigest()
