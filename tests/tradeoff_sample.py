"""A made-up sweep of two schemes at two widths on two targets, one unit of which failed on one of them."""

from reports.results import Accuracy, Config, Exactness, LayerCycles, Results, SiteFidelity, Tables
from reports.tradeoff.rows import Design, DesignPart, area_of

LUTS = {"repq W4/A4": 100.0, "repq W8/A8": 160.0, "uniform W4/A4": 80.0, "uniform W8/A8": 170.0}
CORRECT = {"repq W4/A4": 700, "repq W8/A8": 720, "uniform W4/A4": 300, "uniform W8/A8": 715}


def part(run: str, unit: str, target: str, luts: float | None, **more: object) -> DesignPart:
    known = (
        {"failure": f"{unit} on {target}: nextpnr: no place"} if luts is None else {"luts": luts, "dsps": 1.0}
    )
    given = {
        "run": run, "unit": unit, "spec": "s8", "specs": 3, "copies": 10, "operations": ("attn.qkv_acc",),
        "target": target, "tools": "yosys 0.70", "flags": "yosys synth", **known, **more,
    }  # fmt: skip
    return DesignPart.model_validate(given)


def parts(run: str, target: str, broken: bool) -> tuple[DesignPart, ...]:
    fmax = {"fmax_mhz": 110.0} if target == "ecp5" else {}
    making = (
        [
            part(
                run,
                "softmax",
                target,
                None if broken else 40.0,
                operations=("attn.softmax",),
                **({} if broken else fmax),
            )
        ]
        if run.startswith("repq")
        else [
            part(run, "probability", target, 50.0, operations=("attn.probabilities",), **fmax),
            part(run, "requantizer", target, 20.0, operations=("attn.qkv", "attn.softmax"), **fmax),
        ]
    )
    return (
        part(run, "mac", target, LUTS[run], **(fmax | {"fmax_mhz": 90.0} if fmax else {})),
        part(run, "mac", target, 9.0, edge=True, copies=2, operations=("patch_embed.proj_acc",), **fmax),
        part(run, "log2_mac", target, 30.0, operations=("attn.mix_acc",), **fmax),
        *making,
    )


def sample() -> Results:
    """`repq W4/A4` has no softmax on xcup."""
    runs = tuple(LUTS)
    designs = tuple(
        Design(
            run=run, scheme=run.split()[0], weight_bits=int(run[-1]), act_bits=int(run[-1]), accelerator="default",
            clock_mhz=100.0, top1=CORRECT[run] / 10, low=CORRECT[run] / 10 - 3, high=CORRECT[run] / 10 + 3, n=1000,
            fakequant_top1=72.5 if run == "repq W8/A8" else CORRECT[run] / 10, cycles=1000, exact=True,
            config={"scheme": {"name": "<b>"}},
        )
        for run in runs
    )  # fmt: skip
    built = {(run, target): parts(run, target, broken=(run, target) == ("repq W4/A4", "xcup"))
             for run in runs for target in ("ecp5", "xcup")}  # fmt: skip
    tables = Tables(
        accuracy=(
            Accuracy.of(run="float", level="float", correct=730, n=1000),
            *(Accuracy.of(run=run, level="integer", correct=CORRECT[run], n=1000) for run in runs),
        ),
        fidelity=tuple(
            SiteFidelity(
                run=run,
                layer=n,
                site=f"blocks.0.site{n}",
                sqnr_fakequant_db=20.0 + n,
                sqnr_integer_db=19.5 + n,
            )
            for run in runs
            for n in range(4)
        ),
        exactness=tuple(Exactness(run=run, tensors=3, integers=100, differing=0) for run in runs),
        cycles=tuple(
            LayerCycles(run=run, layer=layer, unit="mac", cycles=400)
            for run in runs
            for layer in ("patch_embed.proj_acc", "blocks.0.attn.qkv_acc", "blocks.1.attn.qkv_acc")
        ),
        designs=designs,
        parts=tuple(one for found in built.values() for one in found),
        areas=tuple(area_of(found) for found in built.values()),
    )
    return Results(command="tradeoff", config=Config(model="deit", data="1000 images"), tables=tables)
