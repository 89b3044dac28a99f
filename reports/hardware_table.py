"""`python -m reports.hardware_table [CACHE]` prints the table of docs/hardware.md: units on two families of FPGAs."""

import sys
from pathlib import Path
from typing import Final

from golden.errors import InvariantError
from reports.registry import Entry, entry, unit_names
from reports.synthesis import Area, Target, synthesize, user_cache

TARGETS: Final[tuple[Target, ...]] = ("ecp5", "xcup")
SPECS: Final = {
    "gelu": ("s20-to-u8-t152",),
    "layernorm": ("c192-s16-to-u8",),
    "log2_encoder": ("u19-to-u4-logsqrt2-p16-l14",),
    "log2_mac": ("log2-4b-x-u4-f14", "logsqrt2-4b-x-u4-f7"),
    "mac": ("u4-z0-x-s4-z0", "u8-z0-x-s8-z0"),
    "outlier_list": ("c192-u16-z32768-t5000-p8",),
    "outlier_mac": ("s17-i8-x-s8",),
    "probability": ("w16-p18-g12-t8x16-s16.9-n197",),
    "requantizer": ("s24-to-u8",),
    "residual_adder": ("s16",),
    "sign_scale_encoder": ("s12-to-u8-m4",),
    "softmax": ("log2-4b-s8.4-n197-x2", "logsqrt2-4b-s16.9-n197"),
    "table_mac": ("table8-e12-x-u8-z128",),
    "threshold_encoder": ("u17-to-u8-t255",),
    "token_encoder": ("u16-z32768-t5000-p6-to-u8",),
    "token_scaler": ("s24-s36-s18-l10-r12-to-s40",),
    "two_scale_encoder": ("u11-to-u8-m4",),
    "two_scale_mac": ("two-scale4-m5-x-u4-z8",),
}
"""Labels of the specs in the table; a unit that is not here is there with the first spec of its sweep."""


def table(cache: Path) -> str:
    """The table as Markdown, under the tools' versions; results in `cache` are not measured again.

    Raises SynthesisError when a tool fails: a table with a hole would not be one of all units.
    """
    lines = [
        "| unit | spec | ECP5: LUT4 | FF | DSP | BRAM | MHz | UltraScale+: LUT | FF | DSP | BRAM |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    tools: dict[str, str] = {}
    for name in unit_names():
        unit = entry(name)
        for label in SPECS.get(name, (unit.report.label(unit.report.SWEEP[0]),)):
            areas = measured(unit, label, cache)
            for area in areas:
                tools |= {f"{tool}, {area.target}": text for tool, text in area.tools.items()}
            cells = [f"`{name}`", f"`{label}`", *(cell for area in areas for cell in amounts(area))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*(f"* {tool}: `{text}`" for tool, text in sorted(tools.items())), "", *lines])


def measured(unit: Entry, label: str, cache: Path) -> list[Area]:
    """Areas of the spec of the unit's sweep with this label, on each target."""
    specs = {unit.report.label(spec): spec for spec in unit.report.SWEEP}
    if label not in specs:
        raise InvariantError(f"the sweep of {unit.name} has no {label!r}; it has {', '.join(specs)}")
    spec = specs[label]
    return [synthesize(unit.name, spec, target, cache) for target in TARGETS]


def amounts(area: Area) -> list[str]:
    """Cells of the table for one target; a clock rate only where it is measured."""
    counts = [f"{amount:g}" for amount in (area.luts, area.flip_flops, area.dsps, area.block_rams)]
    return counts if area.fmax_mhz is None else [*counts, f"{area.fmax_mhz:.0f}"]


if __name__ == "__main__":
    print(table(Path(sys.argv[1]) if len(sys.argv) > 1 else user_cache()))
