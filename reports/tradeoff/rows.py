"""The rows of a trade-off: a datapath on an accelerator, what its units cost there, and their sum."""

from collections.abc import Sequence
from typing import Self

from pydantic import JsonValue, model_validator

from reports.row import Amount, Count, Label, Megahertz, Percent, Positive, Row

RESOURCES = ("luts", "ffs", "dsps", "brams", "carries", "area_um2", "nand2")
"""Resources that add up over units."""

UNITS = {"area_um2": "µm²", "nand2": "NAND2"}
"""Unit of a resource where it is not its name."""


class Resources(Row):
    """How much of each resource; what a target has not, or what is not known, is None."""

    luts: Amount | None = None
    ffs: Amount | None = None
    dsps: Amount | None = None
    brams: Amount | None = None
    """ECP5: 18 kbit; iCE40: 4 kbit; Xilinx: 36 kbit."""
    carries: Amount | None = None
    area_um2: Amount | None = None
    """Standard cells without wires."""
    nand2: Amount | None = None
    """The same in two-input NAND gates."""


class Design(Row):
    """One datapath, a scheme at one pair of widths, on one accelerator."""

    run: Label
    """`repq W4/A4`, and the accelerator's name behind it where there are several."""
    scheme: Label
    weight_bits: Positive
    act_bits: Positive
    accelerator: Label
    clock_mhz: Megahertz
    """Of the accelerator's description; Fmax is on the areas."""
    top1: Percent
    """Of the integers, bit for bit what the hardware computes."""
    low: Percent
    """Lower end of its 95 % interval."""
    high: Percent
    n: Positive
    fakequant_top1: Percent
    cycles: Positive
    """Per image."""
    weight_kib: Amount | None = None
    """Storage of the weights at their bit widths, biases and multipliers left out."""
    exact: bool
    """Whether sim equals the int64 reference on the images compared."""
    config: dict[str, JsonValue]
    """What makes this point again: the scheme's TOML as JSON, widths, accelerator, model, seed, images."""


class DesignPart(Resources):
    """What one kind of unit contributes to a design on one target; the resources are those of one of it."""

    run: Label
    unit: Label
    edge: bool = False
    """Whether it serves only what lies outside the blocks, where the accelerator has units of its own for that."""
    spec: Label
    """The widest of the unit's parameter sets in the program, which is the one synthesised."""
    specs: Positive
    """Different parameter sets of the unit in the program."""
    copies: Positive
    """How many of it the accelerator has: rows × columns, lanes, or copies."""
    operations: tuple[Label, ...]
    """What runs on it, blocks left out: `attn.qkv_acc`."""
    target: Label
    fmax_mhz: Megahertz | None = None
    failure: Label | None = None
    """Why there are no figures; None where there are."""
    tools: str = ""
    flags: str = ""
    verified: Count | None = None
    """Output vectors on which RTL of this very parameter set and sim were compared and agreed; None: not compared."""
    verified_unit: Count | None = None
    """Such vectors over all of the unit's parameter sets in the results of `vitrtl verify` that were given."""
    mismatch: Label | None = None
    """The first failure of such a comparison, in a line; none of the two above has a figure then."""
    energy: Amount | None = None
    """pJ per operation, relative: of the operation with the widest parameters, on real inputs (`reports.energy`)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = [name for name in RESOURCES if getattr(self, name) is not None]
        if bool(known) == (self.failure is not None):
            raise ValueError(
                f"{self.unit} must have either figures or a failure, not {known} and {self.failure!r}"
            )
        if self.mismatch is not None and (self.verified is not None or self.verified_unit is not None):
            raise ValueError(f"{self.unit} cannot both be verified and fail: {self.mismatch}")
        return self

    def total(self, resource: str) -> float | None:
        """Of all copies."""
        one = getattr(self, resource)
        return None if one is None else one * self.copies


class Buffer(Row):
    """A memory in front of the units, by its capacity alone; in no sum, as it is not synthesised."""

    name: Label
    kbit: Amount
    """Both halves of it where it is double-buffered."""
    block_rams: Count | None = None
    """Of the target, as many as hold that many bytes: the least there can be; None where it has none."""


class DesignArea(Resources):
    """An accelerator on one target: the sum of its parts, None for a resource that any part does not know."""

    run: Label
    target: Label
    fmax_mhz: Megahertz | None = None
    """Of the slowest part; None unless all are known."""
    slowest: Label | None = None
    """That part's unit."""
    missing: tuple[Label, ...] = ()
    """Units without figures."""
    energy: Amount | None = None
    """pJ per image, relative: of the units in `energy_parts`, each by its energy per operation on real inputs."""
    energy_parts: tuple[Label, ...] = ()
    """Units whose energy is in the sum; the others' is not known."""
    buffers: tuple[Buffer, ...] | None = None
    """Beside the units; None where the accelerator's description states no memory."""


def area_of(
    parts: tuple[DesignPart, ...],
    operations: Sequence[int] = (),
    buffers: tuple[Buffer, ...] | None = None,
) -> DesignArea:
    """Sum of all parts of one run on one target; `operations` are those of an image, part by part, for energies."""
    missing = tuple(part.unit for part in parts if part.failure)
    sums: dict[str, float | None] = {}
    for resource in RESOURCES:
        known = [total for part in parts if (total := part.total(resource)) is not None]
        sums[resource] = sum(known) if known and not missing else None
    clocks = [(part.fmax_mhz, part.unit) for part in parts if part.fmax_mhz is not None]
    fmax, slowest = min(clocks) if len(clocks) == len(parts) else (None, None)
    spent = [
        (part.unit, part.energy * number)
        for part, number in zip(parts, operations, strict=False)
        if part.energy is not None
    ]
    return DesignArea(
        run=parts[0].run,
        target=parts[0].target,
        missing=missing,
        energy=sum(energy for _, energy in spent) if spent else None,
        energy_parts=tuple(dict.fromkeys(unit for unit, _ in spent)),
        buffers=buffers,
        slowest=slowest,
        fmax_mhz=fmax,
        **sums,
    )
