"""The shipped model is what it is said to be: its size, its split, its accuracy."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from golden import digits
from golden.digits.dataset import Split, indices, pixels_and_labels
from golden.digits.train import accuracy, distort, train
from golden.images import calibration_batch
from golden.pretrained import VisionTransformer, load_model, preprocessing

SPLITS: tuple[Split, ...] = ("train", "test", "calib")


def test_splits_are_disjoint_balanced_and_fixed() -> None:
    train_set, test_set, calib_set = (set(indices(split)) for split in SPLITS)
    assert (len(train_set), len(test_set), len(calib_set)) == (1437, 360, 160)
    assert train_set | test_set == set(range(1797))
    assert not train_set & test_set
    assert calib_set < train_set
    assert digits.images("test").labels.bincount().tolist() == [36] * 10
    assert digits.images("calib").labels.bincount().tolist() == [16] * 10
    listed = ",".join(map(str, indices("test"))).encode()
    assert (
        hashlib.sha256(listed).hexdigest()
        == "ef63583d0b6be273e281b70bf81794cde0261c52ccd34733bd750ddff0d0cd62"
    )
    assert {split: digits.images(split).digest()[:16] for split in SPLITS} == {
        "train": "059578c23270ad05",
        "test": "80b433b215d8223b",
        "calib": "649be0f6026b13ec",
    }
    with pytest.raises(ValueError, match="split must be train, test or calib, not 'val'"):
        indices("val")  # type: ignore[arg-type]


def test_no_image_is_in_both_train_and_test() -> None:
    pixels, _ = pixels_and_labels()
    seen = {pixels[i].tobytes() for i in indices("train")}
    assert not [i for i in indices("test") if pixels[i].tobytes() in seen]


def test_images_are_normalised_as_the_model_states() -> None:
    images, model = digits.images("train"), digits.build()
    how = preprocessing(model)
    assert (how.input_size, how.mean, how.std) == ((1, 8, 8), (0.3,), (0.375,))
    pixels, _ = pixels_and_labels()
    first = torch.from_numpy(pixels[indices("train")[0]]) / 16
    assert images.images[0, 0].equal((first - 0.3) / 0.375)
    assert abs(float(images.images.mean())) < 0.02
    assert abs(float(images.images.std()) - 1) < 0.02
    assert calibration_batch(digits.images("calib"), 32, seed=0).shape == (32, 1, 8, 8)


def test_model_is_a_stock_vision_transformer() -> None:
    model = load_model("vitrtl_digits", None)
    assert type(model) is VisionTransformer
    assert not model.training
    kinds = {type(module).__name__ for module in model.modules()}
    assert {"GELU", "LayerNorm", "Attention", "Mlp"} <= kinds
    block = model.blocks[0]
    assert (len(model.blocks), block.attn.num_heads, block.attn.head_dim) == (4, 3, 16)
    assert model.pos_embed.shape == (1, 17, 48)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


def test_shipped_weights_are_small_float32() -> None:
    assert digits.WEIGHTS.stat().st_size <= 1_000_000
    with safe_open(digits.WEIGHTS, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float32}  # noqa: SIM118 - not a dict
        assert file.metadata()["seed"] == "1"


def test_shipped_weights_reach_their_accuracy() -> None:
    model = load_model("vitrtl_digits", None)
    right = total = 0
    with torch.inference_mode():
        for images, labels in digits.images("test").batches(64):
            right += int((model(images).argmax(dim=1) == labels).sum())
            total += len(labels)
    assert total == 360
    # 352, give or take a tie that another processor's rounding may break the other way.
    assert abs(right - 352) <= 1


def test_distortion_is_small_seeded_and_keeps_black_black() -> None:
    pixels, _ = pixels_and_labels()
    sample = torch.from_numpy(pixels[:64]).unsqueeze(1) / 16
    torch.manual_seed(0)
    first = distort(sample)
    torch.manual_seed(0)
    assert distort(sample).equal(first)
    assert not first.equal(sample)
    assert float((first - sample).abs().mean()) < 0.15
    assert not distort(torch.zeros(4, 1, 8, 8)).any()
    # Half a pixel at most: the centre of gravity of a centred dot stays within it, and all four sides occur.
    dot = torch.zeros(256, 1, 8, 8)
    dot[:, :, 3:5, 3:5] = 1
    moved = distort(dot)[:, 0]
    axis = torch.arange(8.0) - 3.5
    for centre in ((moved.sum(dim=1) * axis).sum(dim=1), (moved.sum(dim=2) * axis).sum(dim=1)):
        shift = centre / moved.sum(dim=(1, 2))
        assert float(shift.abs().max()) < 0.7
        assert float(shift.min()) < -0.3
        assert float(shift.max()) > 0.3


def test_training_is_deterministic_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golden.digits.train.EPOCHS", 15)
    monkeypatch.setattr("golden.digits.train.WARMUP_EPOCHS", 2)
    monkeypatch.setattr("golden.digits.train.AVERAGE_DECAY", 0.8)
    _, labels = pixels_and_labels()
    members = [i for i in indices("train") if labels[i] < 2]  # two digits are told apart within seconds
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        models = [train(members, seed) for seed in (5, 5, 6)]
    finally:
        torch.set_num_threads(threads)
    states = [model.state_dict() for model in models]
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    assert any(not states[0][name].equal(states[2][name]) for name in states[0])
    assert accuracy(models[0], members) > 0.75


def test_weights_of_another_file_can_be_given(tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(digits.WEIGHTS.read_bytes())
    shipped, given = load_model("vitrtl_digits", None), load_model("vitrtl_digits", copy)
    assert all(a.equal(b) for a, b in zip(shipped.parameters(), given.parameters(), strict=True))
