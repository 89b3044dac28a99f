"""A program on disk is the program in memory; anything else is refused by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from golden.errors import InvariantError, UserError
from golden.program import FORMAT, Program
from golden.reference import execute
from sim.network import Executor


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as file:
        header: dict[str, Any] = json.loads(file.metadata()["program"])
    return header


def image_codes(program: Program, count: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    tensor = program.tensors[program.input]
    return np.random.default_rng(3).integers(0, tensor.format.max_code + 1, (count, *tensor.shape))


@pytest.mark.parametrize("bits", [4, 8])
def test_saved_and_loaded_runs_the_same(
    bits: int, digits_program: Callable[[int], Program], tmp_path: Path
) -> None:
    program, file = digits_program(bits), tmp_path / "digits.safetensors"
    program.save(file)
    loaded = Program.load(file)
    assert loaded.operations == program.operations
    assert (loaded.tensors, loaded.decoding) == (program.tensors, program.decoding)
    assert (loaded.input, loaded.output, loaded.provenance) == (
        program.input,
        program.output,
        program.provenance,
    )
    assert set(loaded.constants) == set(program.constants)
    for name, values in program.constants.items():
        assert loaded.constants[name].dtype == np.int64
        assert np.array_equal(loaded.constants[name], values)
    codes = image_codes(program, 5)
    before, after = (Executor(p).run(codes, capture="all").tensors for p in (program, loaded))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    for (name, expected), (other, found) in zip(execute(program, codes), execute(loaded, codes), strict=True):
        assert name == other
        assert np.array_equal(expected, found)


def test_saving_is_deterministic_and_leaves_one_file(
    digits_program: Callable[[int], Program], tmp_path: Path
) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        digits_program(4).save(tmp_path / name)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_provenance_says_where_it_came_from(digits_program: Callable[[int], Program]) -> None:
    provenance = dict(digits_program(6).provenance)
    assert len(provenance.pop("calibration_sha256")) == 64
    assert provenance == {"model": "vitrtl_digits", "scheme": "repq", "weight_bits": 6, "act_bits": 6}


def test_no_float_anywhere_in_the_file(digits_program: Callable[[int], Program], tmp_path: Path) -> None:
    file = tmp_path / "digits.safetensors"
    digits_program(8).save(file)

    def leaves(value: Any) -> Any:
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from leaves(inner)
        else:
            yield value

    header = header_of(file)
    assert header["format"] == FORMAT
    assert not [leaf for leaf in leaves(header) if isinstance(leaf, float)]
    # Scales are notes for readers, exact as text.
    scales = [float.fromhex(how["scale"]) for how in header["decoding"].values()]
    assert len(scales) > 40
    assert min(scales) > 0


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The file with its header changed."""
    header = header_of(path)
    change(header)
    save_file({"x": np.zeros(1, np.int64)}, path, metadata={"program": json.dumps(header)})
    return path


def test_other_files_are_refused(digits_program: Callable[[int], Program], tmp_path: Path) -> None:
    file = tmp_path / "p.safetensors"

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message) as raised:
            Program.load(file)
        assert str(file) in str(raised.value)
        assert "\n" not in str(raised.value)

    refused("not a readable vitrtl program")
    file.write_bytes(b"noise")
    refused("not a readable vitrtl program")
    save_file({"x": np.zeros(1)}, file)
    refused(f"holds no program header, this version reads {FORMAT}")
    save_file({"x": np.zeros(1)}, file, metadata={"program": "{"})
    refused("not a readable vitrtl program")
    digits_program(4).save(file)
    whole = file.read_bytes()
    rewritten(file, lambda header: header.update(format="vitrtl-program/0"))
    refused(f"holds vitrtl-program/0, this version reads {FORMAT}; lower the model again")
    for key in ("tensors", "operations", "input", "decoding"):
        file.write_bytes(whole)
        rewritten(file, lambda header, key=key: header.pop(key))
        refused(f"not a valid vitrtl program: .*{key}")
    file.write_bytes(whole)
    rewritten(file, lambda header: header["operations"][0].pop("unit"))
    refused("not a valid vitrtl program: .*unit")
    file.write_bytes(whole[: len(whole) // 2])
    refused("not a readable vitrtl program")


def test_a_value_outside_its_declared_range_stops_both(digits_program: Callable[[int], Program]) -> None:
    """No integer leaves the width that the program states for it, in the reference and in the simulator."""
    program = digits_program(8)
    name = "blocks.0.mlp.fc1_acc"
    narrow = replace(program.tensors[name], format=replace(program.tensors[name].format, bits=9))
    lying = replace(program, tensors={**program.tensors, name: narrow})
    codes = image_codes(program, 2)
    with pytest.raises(InvariantError, match=r"blocks\.0\.mlp\.fc1_acc .*s9"):
        dict(execute(lying, codes))
    with pytest.raises(InvariantError, match=r"blocks\.0\.mlp\.fc1_acc .*s9"):
        Executor(lying).run(codes)
