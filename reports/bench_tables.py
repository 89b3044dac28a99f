"""The rows of what was timed: whole models, single kernels beside another library, and units of one model."""

from typing import Literal, Self

from pydantic import model_validator

from reports.row import Count, Duration, Label, Positive, Row


class Timed(Row):
    """A duration; where the work was repeated its median, with the ends of what the repetitions took."""

    seconds: Duration
    repetitions: Positive | None = None
    """None: the work ran once."""
    fastest: Duration | None = None
    slowest: Duration | None = None
    threads: Positive | None = None

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        ends = (self.repetitions, self.fastest, self.slowest)
        if any(end is None for end in ends) and any(end is not None for end in ends):
            raise ValueError(f"repetitions, fastest and slowest go together, not {ends}")
        if self.fastest and self.slowest and not self.fastest <= self.seconds <= self.slowest:
            raise ValueError(
                f"seconds must lie in [fastest, slowest], not {self.fastest} <= {self.seconds} <= {self.slowest}"
            )
        return self


class Speed(Timed):
    """How fast one implementation ran images in this command."""

    run: Label
    implementation: Literal["float", "fakequant", "golden", "sim"]
    images: Positive
    """Behind `seconds`."""
    first_seconds: Duration | None = None
    """From the calibrated model (float: the loaded one) to the classes of the first batch, once."""


class KernelSpeed(Timed):
    """How fast one implementation computed the same integers as the others of its kernel."""

    kernel: Label
    """`fc1 W4`."""
    implementation: Literal["sim", "apytypes"]
    results: Positive
    """Integers compared before timing, bit for bit."""
    operations: Count | None = None
    """Multiply-accumulates."""


class UnitTime(Row):
    """Time of one kind of operation for one image, summed over the encoder blocks, on one thread."""

    run: Label
    layer: Label
    """`mlp.fc1_acc`, without its block."""
    unit: Label
    count: Positive
    """Operations summed here."""
    milliseconds: Duration
