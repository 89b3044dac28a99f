"""Reconstruction on the digits: it lowers errors, stays a program, depends on its seed alone, and can be cut short."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import reconstruction
from golden.adaround import RoundedCodec
from golden.agreement import site_agreement
from golden.calibrate import Calibrated, calibrate
from golden.codecs.token_uniform import TokenUniformCodec
from golden.digits import images
from golden.errors import UserError
from golden.fakequant import FakeQuantizer
from golden.families import from_timm
from golden.images import calibration_batch
from golden.learning import divergence
from golden.lowering import lower
from golden.model import Recorder, Through, forward
from golden.pretrained import load_model
from golden.reconstruction import module_names, reconstruct
from golden.reference import execute
from golden.scheme import Reconstruction, load_scheme
from golden.shards import Shards
from reports.choice import Bits, Choice
from reports.evaluation import Evaluation
from reports.workload import load_workload
from sim.accelerator import Accelerator
from sim.network import Executor

SHORT = Reconstruction(images=64, batch=16, iterations=30, rounding_rate=0.03, scale_rate=4e-4)
BRIEF = Reconstruction(images=24, batch=12, iterations=3, rounding_rate=0.1, scale_rate=1e-3)
"""Two shards a batch, and no module's result is the start."""
HELD_OUT = 90


@pytest.fixture(scope="module")
def batch() -> Tensor:
    return calibration_batch(images("calib"), 64, seed=0)


@pytest.fixture(scope="module")
def calibrated() -> Calibrated:
    """The `adfq` scheme at 3 bits: a scale per tensor, one per token, and formats whose scale does not learn."""
    vit = from_timm(load_model("vitrtl_digits", None))
    few = calibration_batch(images("calib"), 32, seed=0)
    return calibrate(vit, few, load_scheme("adfq"), weight_bits=3, act_bits=3)


@pytest.fixture(scope="module")
def learned(calibrated: Calibrated, batch: Tensor) -> Calibrated:
    return reconstruct(calibrated, batch, SHORT, seed=0)


def learned_weights(calibrated: Calibrated) -> dict[str, RoundedCodec]:
    return {n: codec for n, codec in calibrated.weights.items() if isinstance(codec, RoundedCodec)}


def same(one: Calibrated, other: Calibrated) -> bool:
    """The same learned bits, and as many of them."""
    a, b = learned_weights(one), learned_weights(other)
    scales = all(
        torch.equal(codec.scale, other.activations[site].scale)  # type: ignore[attr-defined]
        for site, codec in one.activations.items()
    )
    return a.keys() == b.keys() and scales and all(torch.equal(a[n].codes, b[n].codes) for n in a)


@torch.no_grad()
def errors(calibrated: Calibrated, pixels: Tensor) -> dict[str, float]:
    """Squared error of every step's output in the quantised chain against the float chain's."""
    tap, found = FakeQuantizer(calibrated), {}
    floats = quantised = pixels
    for step in calibrated.model.steps():
        floats, quantised = step.run(floats, Through()), step.run(quantised, tap)
        found[step.name] = float((floats - quantised).square().mean())
    return found


def test_the_quantised_chain_comes_closer_on_images_never_seen(
    calibrated: Calibrated, learned: Calibrated
) -> None:
    unseen = images("test").images[:HELD_OUT]
    before, after = errors(calibrated, unseen), errors(learned, unseen)
    assert before["embed"] == after["embed"] > 0
    assert all(after[name] < 0.9 * before[name] for name in module_names(calibrated.model))
    assert after["head"] < 0.85 * before["head"]


@torch.no_grad()
def test_every_module_beats_nearest_rounding_on_the_same_input(
    calibrated: Calibrated, learned: Calibrated, batch: Tensor
) -> None:
    nearest, tap = FakeQuantizer(calibrated), FakeQuantizer(learned)
    floats = quantised = batch
    ratios = {}
    for step in calibrated.model.steps():
        floats, plain, quantised = (
            step.run(floats, Through()), step.run(quantised, nearest), step.run(quantised, tap)
        )  # fmt: skip
        ratios[step.name] = float((quantised - floats).square().mean() / (plain - floats).square().mean())
    assert all(ratios[name] < 0.99 for name in module_names(calibrated.model))
    assert ratios["embed"] == ratios["head"] == 1
    assert min(ratios.values()) < 0.8


def test_attention_is_pulled_to_the_float_models(calibrated: Calibrated, batch: Tensor) -> None:
    def apart(weight: float) -> float:
        """Of the attention in the first block, where the input is the same."""
        settings = SHORT.model_copy(update={"attention_weight": weight, "attention_temperature": 0.1})
        found = reconstruct(calibrated, batch, settings, seed=0)
        floats, fake = Recorder(), BeforeSoftmaxCodes(found)
        forward(found.model, batch, floats)
        forward(found.model, batch, fake)
        site = "blocks.0.attn.softmax"
        return float(divergence(floats.values[site], fake.values[site], 0.1))

    assert apart(100.0) < 0.97 * apart(0.0)


class BeforeSoftmaxCodes(FakeQuantizer):
    """Keeps the probabilities that the quantised chain makes."""

    def __init__(self, calibrated: Calibrated) -> None:
        super().__init__(calibrated)
        self.values: dict[str, Tensor] = {}

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        self.values[site] = x
        return super().activation(site, kind, x)


def test_inputs_are_mixed_from_both_chains(calibrated: Calibrated, batch: Tensor) -> None:
    """What the quantised chain does with the image matters where inputs are drawn from it, and only there."""
    coarse = replace(calibrated.activations["patch_embed.input"], bits=2)  # type: ignore[type-var]
    other = replace(
        calibrated, activations={**calibrated.activations, "patch_embed.input": coarse}, digest="other"
    )
    for mix, alike in ((0.0, True), (0.5, False), (1.0, False)):
        settings = BRIEF.model_copy(update={"mix": mix})
        one, two = (reconstruct(c, batch[:24], settings, seed=0) for c in (calibrated, other))
        a, b = learned_weights(one), learned_weights(two)
        assert all(torch.equal(a[n].codes, b[n].codes) for n in a) == alike


def test_codes_are_a_neighbour_of_the_weight(calibrated: Calibrated, learned: Calibrated) -> None:
    weights, moved = learned_weights(learned), 0
    assert set(weights) == {layer for layer in learned.weights if layer.startswith("blocks.")}
    for layer, codec in weights.items():
        w = calibrated.model.weights[f"{layer}.weight"]
        difference = (codec.encode(w) - calibrated.weights[layer].encode(w)).abs()
        assert int(difference.max()) <= 1
        assert 0 <= int(codec.codes.min()) <= int(codec.codes.max()) < 1 << codec.bits
        unsaturated = (codec.codes > 0) & (codec.codes < (1 << codec.bits) - 1)
        assert float((codec.fake(w) - w).div(codec.scale).abs()[unsaturated].max()) <= 1 + 1e-5
        moved += int(difference.sum())
    assert moved > 1000


def test_the_float_model_and_all_other_formats_stay(calibrated: Calibrated, learned: Calibrated) -> None:
    assert learned.model is calibrated.model
    assert learned.digest != calibrated.digest
    changed = {
        site
        for site, codec in calibrated.activations.items()
        if not torch.equal(codec.scale, learned.activations[site].scale)  # type: ignore[attr-defined]
    }
    parts = ("norm1", "attn.q", "attn.k", "attn.v", "attn.proj_input", "norm2")
    assert changed == {f"blocks.{i}.{part}" for i in range(4) for part in parts}
    tokens = learned.activations["blocks.1.norm1"]
    assert isinstance(tokens, TokenUniformCodec)
    assert tokens.scale.shape == (17, 1)


@pytest.mark.parametrize("name", ["repq", "adfq"])
def test_golden_equals_sim_afterwards(name: str, calibrated: Calibrated, batch: Tensor) -> None:
    start = calibrate(calibrated.model, batch[:32], load_scheme(name), weight_bits=4, act_bits=4)
    found = reconstruct(start, batch[:24], BRIEF, seed=0)
    program = lower(found, {})
    weight = found.weights["blocks.1.mlp.fc1"]
    assert isinstance(weight, RoundedCodec)
    centred = (weight.codes - weight.zero_point).numpy()
    assert np.array_equal(program.constants["blocks.1.mlp.fc1.weight"], centred)
    codes = found.activations[program.input].encode(images("test").images[:3]).numpy()
    simulated = Executor(program).run(codes, capture="all").tensors
    reference = dict(execute(program, codes))
    assert all((reference[name] == simulated[name]).all() for name in reference)
    agreement = site_agreement(found, program, reference | {program.input: codes})
    assert max(site.largest for site in agreement) <= 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_seed_decides_and_threads_do_not(calibrated: Calibrated, batch: Tensor) -> None:
    with threads(1):
        one = reconstruct(calibrated, batch[:24], BRIEF, seed=0)
    with threads(2):
        two = reconstruct(calibrated, batch[:24], BRIEF, seed=0)
        assert torch.get_num_threads() == 2
        other = reconstruct(calibrated, batch[:24], BRIEF, seed=1)
    assert same(one, two)
    assert one.digest == two.digest
    assert not same(one, other)


def test_a_shard_is_one_threads_work() -> None:
    with threads(2), Shards(3) as shards:
        found = shards.map(lambda rows: (torch.get_num_threads(), list(range(8))[rows]), 8)
    assert found == [(1, [0, 1, 2]), (1, [3, 4, 5]), (1, [6, 7])]


def test_shards_share_out_the_batch(
    calibrated: Calibrated, batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = learned_weights(reconstruct(calibrated, batch[:24], BRIEF, seed=0))
    monkeypatch.setattr(reconstruction, "SHARD", 5)
    other = learned_weights(reconstruct(calibrated, batch[:24], BRIEF, seed=0))
    # Sums in another order: the same but for a few weights that were about to turn.
    differing = sum(int((one[n].codes != other[n].codes).sum()) for n in one)
    assert differing < 0.005 * sum(codec.codes.numel() for codec in one.values())


def test_the_regulariser_holds_weights_to_the_nearest_code(calibrated: Calibrated, batch: Tensor) -> None:
    def moved(weight: float) -> float:
        settings = BRIEF.model_copy(
            update={"iterations": 10, "rounding_weight": weight, "temperature": (2.0, 2.0), "warm_up": 0.0}
        )
        found = learned_weights(reconstruct(calibrated, batch[:24], settings, seed=0))
        nearest = {n: calibrated.weights[n].encode(calibrated.model.weights[f"{n}.weight"]) for n in found}
        differing = sum(int((codec.codes != nearest[n]).sum()) for n, codec in found.items())
        return differing / sum(codes.numel() for codes in nearest.values())

    assert moved(1e3) < 0.02 < 0.1 < moved(0.0)


def test_a_scale_stays_positive_whatever_the_rate(calibrated: Calibrated, batch: Tensor) -> None:
    settings = BRIEF.model_copy(update={"scale_rate": 10.0})
    found = reconstruct(calibrated, batch[:24], settings, seed=0)
    shares = torch.cat(
        [
            (found.activations[site].scale / codec.scale).flatten()  # type: ignore[attr-defined]
            for site, codec in calibrated.activations.items()
        ]
    )
    assert float(shares.min()) == pytest.approx(0.1)
    assert float(shares.max()) > 1


class Killed(Exception):
    """Stands for the end of the process."""


class Fuse:
    """Counts iterations; the one with that number is the last."""

    def __init__(self, last: int | None = None) -> None:
        self.last, self.calls, self.done = last, 0, 0

    def __call__(self, iterations: int) -> None:
        self.calls, self.done = self.calls + 1, self.done + iterations
        if self.calls == self.last:
            raise Killed


def test_a_run_cut_short_goes_on_where_it_was(calibrated: Calibrated, batch: Tensor, tmp_path: Path) -> None:
    def run(folder: Path, fuse: Fuse) -> Calibrated:
        return reconstruct(calibrated, batch[:24], BRIEF, seed=0, folder=folder, advance=fuse)

    modules = len(module_names(calibrated.model))
    count = Fuse()
    whole = run(tmp_path / "whole", count)
    assert (count.calls, count.done) == (modules * 3, modules * 3)
    with pytest.raises(Killed):
        run(tmp_path / "cut", Fuse(last=2 * 3 + 2))
    assert sorted(file.name for file in (tmp_path / "cut").iterdir()) == [
        "blocks.0.attn.safetensors", "blocks.0.mlp.safetensors"
    ]  # fmt: skip
    resumed = Fuse()
    assert same(run(tmp_path / "cut", resumed), whole)
    assert (resumed.calls, resumed.done) == (2 + (modules - 2) * 3, modules * 3)
    finished = Fuse()
    assert same(run(tmp_path / "cut", finished), whole)
    assert finished.calls == modules
    (tmp_path / "cut" / "blocks.1.mlp.safetensors").write_bytes(b"damaged")
    damaged = Fuse()
    assert same(run(tmp_path / "cut", damaged), whole)
    assert damaged.calls == modules - 1 + 3


def test_whatever_decides_the_result_is_in_the_key(
    calibrated: Calibrated, batch: Tensor, tmp_path: Path
) -> None:
    def calls(c: Calibrated, pixels: Tensor, settings: Reconstruction, seed: int) -> int:
        fuse = Fuse()
        reconstruct(c, pixels, settings, seed=seed, folder=tmp_path, advance=fuse)
        return fuse.calls

    once, modules = BRIEF.model_copy(update={"iterations": 2}), len(module_names(calibrated.model))
    assert calls(calibrated, batch[:24], once, 0) == 2 * modules
    assert calls(calibrated, batch[:24], once, 0) == modules
    assert calls(calibrated, batch[:24], once, 1) == 2 * modules
    assert calls(calibrated, batch[1:25], once, 1) == 2 * modules
    once = once.model_copy(update={"mix": 0.4})
    assert calls(calibrated, batch[1:25], once, 1) == 2 * modules
    bias = calibrated.model.weights["head.bias"] + 1
    model = calibrated.model.with_weights({**calibrated.model.weights, "head.bias": bias})
    assert calls(replace(calibrated, model=model), batch[1:25], once, 1) == 2 * modules


def choice(folder: Path, table: str) -> Choice:
    """`repq` with `table` as its reconstruction."""
    text = (files("golden.schemes") / "repq.toml").read_text(encoding="utf-8")
    file = folder / "mine.toml"
    file.write_text(f"{text}[reconstruction]\n{table}\n", encoding="utf-8")
    return Choice(model="vitrtl_digits", scheme=str(file))


def test_a_scheme_asks_for_it(tmp_path: Path) -> None:
    work = load_workload(choice(tmp_path, "images = 40\nbatch = 8"))
    assert work.reconstruction is not None
    assert len(work.reconstruction) == 40
    assert torch.equal(work.reconstruction[:32], work.calibration)
    assert work.with_scheme(load_scheme("repq")).reconstruction is None
    with pytest.raises(UserError, match="needs 1024 images, but digits calib"):
        load_workload(choice(tmp_path, ""))
    with pytest.raises(UserError, match=r"unknown key reconstruction\.iteration, did you mean iterations\?"):
        load_workload(choice(tmp_path, "iteration = 4"))


def test_the_papers_setting_differs_in_its_reconstruction_alone() -> None:
    short, full = load_scheme("adfq"), load_scheme("adfq_paper")
    assert full.reconstruction == Reconstruction(images=1024, batch=32, iterations=3000)
    names = {"name": full.name, "reconstruction": full.reconstruction}
    assert short.reconstruction is not None
    assert short.model_copy(update=names) == full


def test_an_evaluation_runs_it(tmp_path: Path) -> None:
    work = load_workload(choice(tmp_path, "images = 12\nbatch = 12\niterations = 2\nrounding_rate = 0.1"))
    evaluation = Evaluation(
        workload=work, accelerator=Accelerator.load(), batch_size=180, checked_images=2, out=tmp_path
    )
    run = evaluation.lowered(Bits(weight=4, act=4))
    nearest = replace(evaluation, workload=work.with_scheme(load_scheme("repq"))).lowered(run.bits)
    layers = [name for name in run.program.constants if name.endswith(".weight")]
    moved = {
        name for name in layers if (run.program.constants[name] != nearest.program.constants[name]).any()
    }
    assert moved == {name for name in layers if name.startswith("blocks.")}
    assert len(list((tmp_path / "checkpoints" / "w4_a4_reconstruction").iterdir())) == 8
