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

from golden.adaround import RoundedCodec, Rounding, fake_learned, fake_through
from golden.agreement import site_agreement
from golden.calibrate import Calibrated, calibrate
from golden.codecs.log2 import Log2Codec
from golden.codecs.token_uniform import TokenUniformCodec
from golden.codecs.uniform import UniformCodec
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
    assert all(after[name] < before[name] for name in module_names(calibrated.model)[1:])
    assert after["head"] < 0.7 * before["head"]


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

    assert apart(100.0) < 0.95 * apart(0.0)


def test_divergence_is_that_of_the_float_model_from_the_quantised() -> None:
    p, q = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.1, 0.3, 0.6]])
    a, b = (torch.exp(x / 4) / torch.exp(x / 4).sum() for x in (p, q))
    expected = float((a * (a / b).log()).sum())
    assert float(divergence(p, q, 4.0)) == pytest.approx(expected, rel=1e-4)
    assert abs(float(divergence(q, p, 4.0)) / expected - 1) > 1e-3
    rows, others = p.expand(2, 3, 5, 3), q.expand(2, 3, 5, 3)
    assert float(divergence(rows, others, 4.0)) == pytest.approx(30 * expected, rel=1e-4)


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
    assert calls(calibrated, batch[1:25], once.model_copy(update={"mix": 0.4}), 1) == 2 * modules


def test_rounding_starts_at_the_weight_and_its_regulariser_decides() -> None:
    w = torch.rand(5, 40, generator=torch.Generator().manual_seed(1)) * 4.2 - 2.1  # -7 .. 7 steps
    codec = UniformCodec(bits=4, scale=torch.full((5, 1), 0.3), zero_point=torch.full((5, 1), 7))
    rounding = Rounding(w, codec)
    assert torch.allclose(rounding.soft(), w, atol=1e-5)
    assert torch.equal(rounding.codes(), codec.encode(w))
    # Downhill from the float weight lies nearest rounding, all decided.
    optimiser = torch.optim.SGD([rounding.v], lr=0.5)
    for _ in range(200):
        optimiser.zero_grad()
        torch.autograd.backward(rounding.indecision(2.0))
        optimiser.step()
    with torch.no_grad():
        undecided = (rounding.share() - 0.5).abs() < 0.45
        ties = ((w / codec.scale).frac().abs() - 0.5).abs() < 0.02
        assert not undecided[~ties].any()
        assert torch.equal(rounding.codes()[~ties], codec.encode(w)[~ties])
        assert torch.allclose(rounding.soft()[~ties], codec.fake(w)[~ties], atol=0.05 * 0.3)


def test_a_scale_learns_by_the_centred_code_and_the_rounding_error() -> None:
    scale = torch.tensor(0.5, requires_grad=True)
    codec = UniformCodec(bits=3, scale=torch.tensor(0.5), zero_point=torch.tensor(2))
    x = torch.tensor([-5.0, -0.3, 0.0, 0.6, 2.4, 9.0], requires_grad=True)  # centred codes -2 .. 5
    y = fake_learned(codec, x, scale)
    assert torch.equal(y, codec.fake(x))
    weight = torch.tensor([1.0, 10.0, 100.0, 1000.0, 1e4, 1e5])
    to_x, to_scale = torch.autograd.grad((y * weight).sum(), (x, scale))
    assert to_x.tolist() == [0.0, 10.0, 100.0, 1000.0, 1e4, 0.0]
    slopes = torch.tensor([-2.0, -1 + 0.6, 0.0, 1 - 1.2, 5 - 4.8, 5.0])
    assert float(to_scale) == pytest.approx(float((slopes * weight).sum()), rel=1e-5)


def test_outliers_teach_their_tokens_scale_nothing() -> None:
    codec = TokenUniformCodec(
        bits=4, scale=torch.tensor([[0.1], [0.2]]), zero_point=torch.tensor([[8], [8]]), threshold=5.0,
        capacity=1, peak=9.0,
    )  # fmt: skip
    scale = codec.scale.clone().requires_grad_()
    x = torch.tensor([[7.0, 0.11, -0.02], [-8.0, 0.35, 6.0]])[None].expand(3, 2, 3).requires_grad_()
    y = fake_learned(codec, x, scale)
    assert torch.equal(y[0, :, 0], x[0, :, 0])
    to_x, to_scale = torch.autograd.grad(y.sum(), (x, scale))
    assert to_x[0].tolist() == [[1, 1, 1], [1, 1, 0]]  # the second outlier of its row is beyond the list
    assert torch.allclose(to_scale, 3 * torch.tensor([[-0.1 + 0.2], [0.25 + 7.0]]), atol=1e-4)


def test_formats_without_such_a_scale_pass_gradients_straight_through() -> None:
    codec = Log2Codec(bits=3, steps_per_octave=2, scale=torch.tensor(1.0), zero="paper")
    x = torch.tensor([0.9, 0.3, 0.0], requires_grad=True)
    y = fake_through(codec, x)
    assert torch.equal(y, codec.fake(x))
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [1.0, 1.0, 1.0]


def test_rounded_codes_belong_to_one_tensor() -> None:
    codec = RoundedCodec(
        bits=4, scale=torch.ones(2, 1), zero_point=torch.zeros(2, 1, dtype=torch.int64),
        codes=torch.tensor([[1, 2, 3], [4, 5, 6]]),
    )  # fmt: skip
    assert codec.fake(torch.zeros(2, 3)).tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(ValueError, match=r"codes of shape \[2, 3\] for a tensor of \[3, 2\]"):
        codec.encode(torch.zeros(3, 2))


def test_the_regulariser_sets_in_after_the_warm_up() -> None:
    settings = Reconstruction(iterations=100)
    assert settings.exponent_at(19) is None
    assert settings.exponent_at(20) == 20.0
    assert settings.exponent_at(60) == 11.0
    assert settings.exponent_at(99) == pytest.approx(2.225)


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
    with pytest.raises(UserError, match="calibration needs 1024 images, but digits calib"):
        load_workload(choice(tmp_path, ""))
    with pytest.raises(UserError, match=r"unknown key reconstruction\.iteration, did you mean iterations\?"):
        load_workload(choice(tmp_path, "iteration = 4"))


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
