"""Loading models: what is accepted, what is refused and in which words."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from golden import digits, pretrained
from golden.errors import UserError
from golden.images import ImageFolder
from golden.pretrained import load_model, preprocessing

DEIT = "deit_tiny_patch16_224"
State = dict[str, Tensor]


@pytest.fixture
def state() -> State:
    torch.manual_seed(0)
    return digits.build().state_dict()


def refusal(name: str, weights: Path | None) -> str:
    with pytest.raises(UserError) as caught:
        load_model(name, weights)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_file_form_loads_the_same(tmp_path: Path, state: State) -> None:
    save_file(state, tmp_path / "a.safetensors")
    save_file(state, tmp_path / "b.bin")
    torch.save(state, tmp_path / "c.pth")
    torch.save({"model": state, "epoch": 3}, tmp_path / "d.pth")
    torch.save({"state_dict": state}, tmp_path / "e.pth", _use_new_zipfile_serialization=False)
    save_file({name: value.half() for name, value in state.items()}, tmp_path / "half.safetensors")
    for file in sorted(tmp_path.iterdir()):
        model = load_model("vitrtl_digits", file)
        assert not model.training
        for name, value in model.state_dict().items():
            assert value.dtype == torch.float32
            wanted = state[name].half().float() if file.stem == "half" else state[name]
            assert value.equal(wanted), (file, name)


def test_unknown_name_gets_near_ones() -> None:
    assert DEIT in refusal("deit_tiny_patch16_244", None)
    assert "did you mean vitrtl_digits" in refusal("vitrtl_digit", None)
    assert "list_models() lists the names" in refusal("qqqqqqqqqqqqqqq", None)
    assert "neither" in refusal("", None)
    assert "neither" in refusal("hf-hub:someone/deit_tiny_patch16_224", None)


def test_unknown_tag_is_refused(tmp_path: Path, state: State) -> None:
    save_file(state, tmp_path / "w.safetensors")
    assert f"{DEIT}.nobody" in refusal(f"{DEIT}.nobody", tmp_path / "w.safetensors")
    assert f"{DEIT}.nobody" in refusal(f"{DEIT}.nobody", None)


def test_mismatch_names_the_first_tensors(tmp_path: Path, state: State) -> None:
    file = tmp_path / "w.safetensors"
    changed = {name: value for name, value in state.items() if not name.startswith("blocks.0.")}
    changed |= {"extra": torch.zeros(1), "head.weight": torch.zeros(7, 48)}
    changed["norm.weight"] = torch.full((48,), float("nan"))
    save_file(changed, file)
    message = refusal("vitrtl_digits", file)
    assert f"{file} does not fit vitrtl_digits" in message
    assert (
        "missing blocks.0.norm1.weight, blocks.0.norm1.bias, blocks.0.attn.qkv.weight, ... (12 in all)"
        in message
    )
    assert "unexpected extra" in message
    assert "of another shape head.weight (7, 48) instead of (10, 48)" in message
    assert "not finite norm.weight" in message


def test_class_count_follows_the_classifier(tmp_path: Path) -> None:
    trained = pretrained.timm.create_model("test_vit", num_classes=7)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    model = load_model("test_vit", tmp_path / "w.safetensors")
    assert model(torch.zeros(1, 3, 160, 160)).shape == (1, 7)
    assert model.head.weight.equal(trained.head.weight)


def test_damaged_files_are_refused(tmp_path: Path, state: State) -> None:
    missing, empty, folder = tmp_path / "none.pth", tmp_path / "empty.pth", tmp_path / "folder.pth"
    empty.touch()
    folder.mkdir()
    assert f"{missing} does not exist" in refusal("vitrtl_digits", missing)
    assert f"{empty} is empty" in refusal("vitrtl_digits", empty)
    assert f"{folder} is not a file" in refusal("vitrtl_digits", folder)
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for whole in [tmp_path / "a.safetensors", tmp_path / "a.pth", tmp_path / "b.pth"]:
        content = whole.read_bytes()
        for size in (1, 8, 9, 100, len(content) // 2, len(content) - 1):
            part = tmp_path / f"part{whole.suffix}"
            part.write_bytes(content[:size])
            message = refusal("vitrtl_digits", part)
            assert str(part) in message
    for suffix in ("pth", "safetensors"):
        text = tmp_path / f"text.{suffix}"
        text.write_text("<html>404</html>", encoding="utf-8")
        assert str(text) in refusal("vitrtl_digits", text)


class Planted:
    """What a hostile file could hold; unpickling it would raise our own error."""

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('code in the weights file was run')",))


def test_code_in_a_torch_file_is_never_run(tmp_path: Path, state: State) -> None:
    torch.save({"model": state, "args": Planted()}, tmp_path / "w.pth")
    assert "tensors only" in refusal("vitrtl_digits", tmp_path / "w.pth")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"model": {"a": "b"}}, torch.zeros(3)])
def test_torch_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert "holds no state dict" in refusal("vitrtl_digits", tmp_path / "w.pth")


def test_failed_download_asks_for_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, *, pretrained: bool) -> None:
        assert pretrained
        raise OSError("no route to host\nand a second line")

    monkeypatch.setattr(pretrained.timm, "create_model", offline)
    monkeypatch.setattr(pretrained, "_check_connection", lambda name: None)
    message = refusal(DEIT, None)
    assert message.endswith("could not be downloaded (no route to host); give --weights FILE")


def test_missing_network_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = pretrained.huggingface_hub
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://localhost:9")  # the discard port: nobody answers
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(pretrained.timm, "create_model", lambda *_, **__: pytest.fail("the client was asked"))
    message = refusal(DEIT, None)
    assert "could not be downloaded" in message
    assert "Connection refused" in message
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: str(tmp_path))
    pretrained._check_connection(DEIT)  # in the cache: no connection is needed


def test_model_without_pretrained_weights_asks_for_them() -> None:
    name = next(
        n for n in pretrained.timm.list_models("vit*") if not pretrained.timm.models.is_model_pretrained(n)
    )
    assert "give the weights with --weights FILE" in refusal(name, None)


def test_preprocessing_is_timms_evaluation_transform(tmp_path: Path) -> None:
    with torch.device("meta"):
        how = preprocessing(pretrained.timm.create_model(DEIT))
    assert (how.input_size, how.crop_pct, how.interpolation) == ((3, 224, 224), 0.9, "bicubic")
    assert (how.mean, how.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for mode, size in [("L", (300, 260)), ("CMYK", (224, 500)), ("RGBA", (250, 250))]:
        made = how.transform(Image.new(mode, size))
        assert (made.dtype, made.shape) == (torch.float32, (3, 224, 224))
    framed = Image.new("RGB", (248, 248), (255, 255, 255))
    framed.paste((0, 0, 0), (0, 0, 248, 12))
    assert bool((how.transform(framed)[:, 0] > 2).all())  # 12 of 248 rows lie outside the central 224
    red = how.transform(Image.new("RGB", (640, 480), (255, 0, 0)))
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert torch.allclose(red[:, 100, 100], torch.tensor(expected), atol=1e-5)


def test_digits_preprocessing_accepts_image_files() -> None:
    made = preprocessing(digits.build()).transform(Image.new("RGB", (8, 8), (255, 255, 255)))
    assert torch.allclose(made, torch.full((1, 8, 8), (1 - 0.3) / 0.375))


STUB = """
import sys, types
import torch
{before}
from golden import pretrained
assert torch.library.register_fake is {register}
import torchvision
assert "ops" in dir(torchvision)
print(sorted(m for m in sys.modules if m.startswith("golden.")))
"""


def test_shim_leaves_torch_as_it_was() -> None:
    """Whatever the torchvision here: torch's own registration is in place after the import."""
    code = STUB.format(before="kept = torch.library.register_fake", register="kept")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_shim_is_not_used_where_torchvision_imports() -> None:
    """A registration that accepts everything lets the plain import pass, as with matching builds."""
    before = """
calls = []
def register(op, *args, **options):
    calls.append(op)
    return lambda function: function
torch.library.register_fake = register
"""
    code = STUB.format(before=before, register="register") + "assert 'torchvision::nms' in calls"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.data
@pytest.mark.slow
def test_deit_tiny_reaches_its_reference_accuracy(data: Path) -> None:
    model = load_model(DEIT, data / f"{DEIT}.safetensors")
    images = ImageFolder(
        root=data / "imagenet" / "val",
        transform=preprocessing(model).transform,
        class_count=1000,
        class_map=data / "imagenet" / "class_map.txt",
    )
    with torch.inference_mode():
        right = sum(int((model(x).argmax(dim=1) == y).sum()) for x, y in images.batches(50))
    assert (right, len(images)) == (366, 500)
