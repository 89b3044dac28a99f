"""Every shipped scheme, at every width, becomes integers that golden and sim agree on; so does a user's mixture."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.agreement import site_agreement
from golden.calibrate import Calibrated, calibrate
from golden.codecs.channel_shift import ChannelShiftSite
from golden.codecs.registry import site_formats
from golden.codecs.sign_scale import SignScaleCodec
from golden.codecs.tan import TanCodec
from golden.codecs.two_scale import TwoScaleCodec
from golden.digits import images
from golden.families import from_timm
from golden.images import calibration_batch
from golden.lowering import lower
from golden.pretrained import load_model
from golden.program import Program
from golden.reference import execute
from golden.scheme import SUPPORTED, load_scheme
from golden.vit import Vit
from sim.network import Executor

SHIPPED = sorted(
    f.name.removesuffix(".toml") for f in files("golden.schemes").iterdir() if f.name.endswith(".toml")
)
CHECKED = 6
"""Images whose every tensor is compared; the whole test split is tests/test_exactness.py's."""


@pytest.fixture(scope="module")
def vit() -> Vit:
    return from_timm(load_model("vitrtl_digits", None))


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return calibration_batch(images("calib"), 32, seed=0)


def differing(program: Program, calibrated: Calibrated) -> tuple[int, dict[str, np.ndarray]]:
    """Integers in which golden and sim differ, and golden's tensors."""
    codes = calibrated.activations[program.input].encode(images("test").images[:CHECKED]).numpy()
    simulated = Executor(program).run(codes, capture="all").tensors
    reference = dict(execute(program, codes))
    assert set(simulated) == {*reference, program.input}
    count = sum(int((reference[name] != simulated[name]).sum()) for name in reference)
    return count, reference | {program.input: codes}


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
@pytest.mark.parametrize("name", SHIPPED)
def test_golden_equals_sim(name: str, bits: int, vit: Vit, batch: torch.Tensor) -> None:
    calibrated = calibrate(vit, batch, load_scheme(name), weight_bits=bits, act_bits=bits)
    program = lower(calibrated, {"model": "vitrtl_digits"})
    count, tensors = differing(program, calibrated)
    assert count == 0
    # Rounding apart (HALF_UP against the papers' HALF_EVEN, fixed point against float), no code is another one.
    assert max(site.largest for site in site_agreement(calibrated, program, tensors)) <= 1


def test_a_mixture_of_formats_and_widths(tmp_path: Path, vit: Vit, batch: torch.Tensor) -> None:
    mixture = tmp_path / "mixture.toml"
    mixture.write_text(
        """
        name = "mixture"
        paper = "none"
        [calibration]
        percentiles = [0.999, 1.0]
        images = 32
        metric = "hessian"
        [sites]
        patch_input = { format = "uniform", bits = 8 }
        residual = { format = "channel_shift", rule = "outlier", bits = 7 }
        post_layernorm = { format = "uniform", granularity = "channel_to_tensor", target = "median" }
        q = { format = "uniform", bits = 5 }
        k = { format = "uniform" }
        v = { format = "uniform", bits = 5 }
        softmax = { format = "tan", bits = 3, entry_bits = 10 }
        proj_input = { format = "uniform", bits = 6 }
        gelu = { format = "sign_scale", bits = 5 }
        head_input = { format = "uniform", bits = 8 }
        """
    )
    calibrated = calibrate(vit, batch, load_scheme(str(mixture)), weight_bits=4, act_bits=4)
    program = lower(calibrated, {})
    assert program.tensors["blocks.0.attn.softmax"].format.bits == 3
    assert {op.unit for op in program.operations} >= {"probability", "threshold_encoder", "table_mac"}
    assert differing(program, calibrated)[0] == 0


def test_every_format_is_supported_at_some_site() -> None:
    assert {name for names in SUPPORTED.values() for name in names} == set(site_formats())


def test_tangent_levels_are_the_published_ones() -> None:
    """Symmetric angles of 1.50, 4 bits, 12-bit entries."""
    codec = TanCodec(bits=4, entry_bits=12, alpha=1.5, beta=1.5, scale=torch.tensor(1.0))
    assert codec.table == [0, 15, 35, 64, 109, 189, 368, 1018, 3077, 3727, 3906, 3986, 4031, 4060, 4080, 4095]
    assert [round(t, 4) for t in codec.thresholds[:4]] == [0.0017, 0.0059, 0.0117, 0.0205]
    assert codec.encode(torch.tensor(codec.thresholds, dtype=torch.float64)).tolist() == list(range(1, 16))


def test_two_scale_keeps_low_bits_of_small_and_high_bits_of_large_values() -> None:
    codec = TwoScaleCodec(bits=4, shift=3, scale=torch.tensor(1.0, dtype=torch.float64))
    x = torch.arange(-1, 70, dtype=torch.float64)
    values = codec.fake(x)
    assert values[:9].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7]  # -1 saturates; below 8 exact
    assert codec.encode(torch.tensor([8.0, 11.0, 12.0, 20.0])).tolist() == [
        9,
        9,
        10,
        11,
    ]  # 11/8 → 1, 12/8 → 2
    assert values.max() == 56  # 7 << 3


def test_sign_scale_has_one_step_per_sign() -> None:
    codec = SignScaleCodec(bits=4, shift=2, scale=torch.tensor(0.5, dtype=torch.float64))
    x = torch.tensor([-9.0, -0.5, 0.0, 1.0, 3.0, 40.0], dtype=torch.float64)
    assert codec.encode(x).tolist() == [7, 1, 8, 9, 10, 15]  # 1.0 is X = 2, a tie of 2/4, upwards
    assert codec.fake(x).tolist() == [-3.5, -0.5, 0.0, 2.0, 4.0, 14.0]


@pytest.mark.parametrize("rule", ["ptf", "outlier"])
def test_channel_shifts_beat_one_scale_when_a_channel_stands_out(rule: str) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(64, 16, generator=generator, dtype=torch.float64)
    x[:, 5] *= 40
    evidence_free = ChannelShiftSite(format="channel_shift", rule=rule)  # type: ignore[arg-type]
    codec = evidence_free.fit(x, 8, None)  # type: ignore[arg-type] - neither rule looks at evidence
    plain = type(codec)(
        bits=8, scale=(x.max() - x.min()) / 255, zero_point=torch.round(-x.min() * 255 / (x.max() - x.min())).long(),
        shifts=torch.zeros(16, dtype=torch.int64),
    )  # fmt: skip
    ordinary = [c for c in range(16) if c != 5]
    assert (codec.fake(x) - x)[:, ordinary].square().mean() < (plain.fake(x) - x)[
        :, ordinary
    ].square().mean() / 30
