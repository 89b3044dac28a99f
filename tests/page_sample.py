"""What the tests of the page share: results of every kind, and a reader of what was rendered."""

import json
import re
from html.parser import HTMLParser
from typing import Any

from reports.results import (
    Accuracy,
    Agreement,
    Config,
    Exactness,
    KernelSpeed,
    LayerCycles,
    Overflow,
    Results,
    SiteFidelity,
    Speed,
    Tables,
    UnitArea,
    UnitTime,
    UnitVerification,
)
from reports.verification_rows import Mutants

BLOCK = (
    ("norm1", "layernorm", 2010), ("attn.qkv", "mac", 19_300), ("attn.qkv.requantize", "requantizer", 2400),
    ("attn.scores", "mac", 8200), ("attn.softmax", "softmax", 7400), ("attn.context", "log2_mac", 8100),
    ("attn.proj", "mac", 6500), ("residual1", "residual_adder", 790), ("norm2", "layernorm", 2010),
    ("mlp.fc1", "mac", 25_700), ("mlp.act", "gelu", 3200), ("mlp.fc2", "mac", 25_700),
    ("residual2", "residual_adder", 790),
)  # fmt: skip
UNITS = ("gelu", "layernorm", "log2_mac", "mac", "requantizer", "residual_adder", "softmax")


def sample(blocks: int = 4, runs: tuple[str, ...] = ("W4/A4", "W6/A6", "W8/A8")) -> Results:
    """Results of every kind, shaped like a demo's; made up, and only that."""
    layers = [("patch_embed", "mac", 9600)]
    layers += [(f"blocks.{b}.{name}", unit, cycles) for b in range(blocks) for name, unit, cycles in BLOCK]
    layers += [("norm", "layernorm", 60), ("head", "mac", 130)]
    sites = [name for name, unit, _ in layers if "residual" not in name and "requantize" not in name]
    accuracy = [Accuracy.of(run="float", level="float", correct=352, n=360)]
    fidelity: list[SiteFidelity] = []
    cycles: list[LayerCycles] = []
    for place, run in enumerate(runs):
        right = 352 - (17, 4, 1)[place]
        accuracy += [
            Accuracy.of(run=run, level="fakequant", correct=right, n=360),
            Accuracy.of(run=run, level="fakequant_hardware", correct=right - 1 + place // 2, n=360),
            Accuracy.of(run=run, level="integer", correct=right - 1, n=360),
        ]
        for order, site in enumerate(sites):
            # A decay along the model with a sawtooth inside a block.
            sqnr = 14 + 11 * place + 9 / (1 + order / 12) + 2.6 * ((order * 7) % 5 - 2)
            fidelity.append(SiteFidelity(
                run=run, layer=order, site=site, sqnr_fakequant_db=sqnr,
                sqnr_integer_db=None if order == 5 else sqnr - 0.15 * (order % 4),
                code_mismatch_fraction=0.0006 * ((order * 5) % 7) * (place + 1),
                code_mismatch_max=min(1, (order * 5) % 7),
            ))  # fmt: skip
        cycles += [
            LayerCycles(run=run, layer=name, unit=unit, cycles=count, operations=240 * count,
                        utilisation=0.94 if "mac" in unit else None)
            for name, unit, count in layers
        ]  # fmt: skip
    return Results(
        command="demo",
        config=Config(
            model=f"vit_test_patch2 ({blocks} blocks)", scheme="repq", data="8 × 8 digits, 360 test images",
            accelerator="16 × 16 array", clock_mhz=200.0, seed=0, weight_bits=[4, 6, 8],
        ),
        tools={"vitrtl": "0.1.0", "torch": "2.13.0", "amaranth": "0.5.10", "pyosys": "0.70", "Icarus Verilog": "11.0"},
        tables=Tables(
            accuracy=tuple(accuracy),
            agreement=tuple(
                Agreement(run=run, pair=pair, percent=percent, n=360)
                for run in runs
                for pair, percent in (("integer/fakequant_hardware", 99.72), ("integer/float", 95.28))
            ),
            fidelity=tuple(fidelity),
            cycles=tuple(cycles),
            exactness=tuple(Exactness(run=run, tensors=118, integers=24_361_984, differing=0) for run in runs),
            overflows=tuple(
                Overflow(run=run, operation=f"blocks.0.{name}", unit="mac", outputs=151_296, overflowed=1_000 * k)
                for run in runs for k, name in enumerate(("attn.qkv_acc", "mlp.fc1_acc"))
            ),
            verification=tuple(
                UnitVerification(unit=unit, spec=spec, simulator="Icarus Verilog 11.0",
                                 rows=400 if spec == "u8" else None, beats=16_400 + 977 * k,
                                 volume=1 << 18 if spec == "u8" else None, exhaustive=spec == "u8" or None,
                                 mismatches=0, cycle_mismatches=0, protocol_errors=0,
                                 proof="proven" if unit == "gelu" else None,
                                 seconds=3.4 + k, passed=True, seed=0)
                for k, unit in enumerate(UNITS) for spec in ("u4", "u8")
            ),
            mutants=(
                Mutants(file="rtl/units/gelu.py", faults=90, planted=40, killed=36, equivalent=3,
                        survivors=("rtl/units/gelu.py:41  8 to 7",)),
            ),
            area=tuple(
                UnitArea(unit=unit, spec="u4", target="ecp5", luts=230 + 411 * k, ffs=180 + 157 * k, dsps=(k * 3) % 7,
                         brams=k % 2, carries=40 + k, fmax_mhz=None if unit == "gelu" else 163.4 - 6.2 * k,
                         tools="Yosys 0.70, nextpnr-ecp5 0.11", flags="synth_ecp5 -abc9; --25k --freq 200 --seed 1")
                for k, unit in enumerate(UNITS)
            ),
            speed=(
                Speed(run="float", implementation="float", images=360, seconds=1.8, threads=2),
                Speed(run="W4/A4", implementation="sim", images=360, seconds=1.1, threads=2),
            ),
            kernels=(
                KernelSpeed(kernel="fc1 W4", implementation="sim", results=1200, seconds=0.001),
                KernelSpeed(kernel="fc1 W4", implementation="apytypes", results=1200, seconds=0.0042),
            ),
            profile=(
                UnitTime(run="W4/A4", layer="mlp.fc1_acc", unit="mac", count=4, milliseconds=2.5),
                UnitTime(run="W4/A4", layer="norm", unit="layernorm", count=1, milliseconds=0.25),
            ),
        ),
    )  # fmt: skip


def only(results: Results, *tables: str) -> Results:
    """`results` with nothing but `tables`."""
    kept = {name: getattr(results.tables, name) for name in tables}
    return results.model_copy(update={"tables": Tables(**kept)})


class Page(HTMLParser):
    """Tags, attributes and text outside scripts and styles of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open:
            self.text += f" {data}"

    @property
    def ids(self) -> list[str]:
        return [i for _, attributes in self.tags if (i := attributes.get("id"))]

    def sections(self) -> list[str]:
        return [str(attributes["id"]) for tag, attributes in self.tags if tag == "section"]

    def words(self) -> str:
        return " ".join(self.text.split())


def figures(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded
