"""Bytes across the chip's edge: by hand, against a product's loads tile by tile, and what buffers change."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import UserError
from golden.formats import Integer
from golden.program import Operation, Program, Tensor
from reports.outline import outline
from reports.outline.formats import Formats, read_scheme
from reports.outline.sizes import sizes_of
from sim.accelerator import Accelerator, Array, Lanes, Memory
from sim.schedule import OperationCycles, cycles_per_image, schedule
from sim.traffic import Placement, Traffic

U4, U8, ACC = Integer(bits=4, signed=False), Integer(bits=8, signed=False), Integer(bits=32, signed=True)
KIB = 1024


def memory(bandwidth: int, weights: int, activations: int, *, double_buffered: bool = True) -> Memory:
    return Memory(
        bandwidth_bytes_per_cycle=bandwidth,
        weight_buffer_kib=weights,
        activation_buffer_kib=activations,
        double_buffered=double_buffered,
    )


def weights(n: int, k: int, bits: int) -> np.ndarray[Any, Any]:
    """Weights whose first channel spans all codes of `bits` bits."""
    values = np.zeros((n, k), np.int64)
    values[0, 0], values[0, -1] = -5, (1 << bits) - 6
    return values


def chain(m: int, widths: tuple[int, ...], bits: int = 4) -> Program:
    """Layers of these widths on `m` rows: product, requantizer, and so on; the image is [1, m, widths[0]] in 8 bits."""
    tensors = {"image": Tensor(shape=(1, m, widths[0]), format=U8, site="image"),
               "x0": Tensor(shape=(m, widths[0]), format=U8)}  # fmt: skip
    operations = [
        Operation(name="x0", unit="move", inputs={"x": "image"}, output="x0", parameters={"kind": "patches"})
    ]
    constants = {}
    for i, (k, n) in enumerate(pairwise(widths), 1):
        constants |= {f"w{i}": weights(n, k, bits), f"b{i}": np.zeros(n, np.int64)}
        constants |= {f"{part}{i}": np.ones(n, np.int64) for part in ("multiplier", "offset", "shift")}
        tensors |= {
            f"acc{i}": Tensor(shape=(m, n), format=ACC),
            f"x{i}": Tensor(shape=(m, n), format=U4, site=f"x{i}"),
        }
        operations.append(Operation(
            name=f"acc{i}", unit="mac", inputs={"a": f"x{i - 1}", "w": f"w{i}", "bias": f"b{i}"}, output=f"acc{i}",
            parameters={"a_zero_point": 0, "w_zero_point": 0, "acc_bits": 32}))  # fmt: skip
        inputs = {"acc": f"acc{i}", **{part: f"{part}{i}" for part in ("multiplier", "offset", "shift")}}
        operations.append(Operation(name=f"x{i}", unit="requantizer", inputs=inputs, output=f"x{i}",
                                    parameters={"out_bits": 4, "out_signed": False}))  # fmt: skip
    return Program(tensors=tensors, constants=constants, operations=tuple(operations), input="image",
                   output=f"x{len(widths) - 1}", provenance={}, decoding={})  # fmt: skip


def costs(program: Program, of: Memory | None, array: tuple[int, int] = (4, 4)) -> dict[str, OperationCycles]:
    shares = {"mac": Array(rows=array[0], columns=array[1]), "requantizer": Lanes(lanes=4)}
    entries = schedule(program, Accelerator(clock_mhz=100, shares=shares, memory=of))
    return {entry.operation: entry for entry in entries}


def traffic(program: Program, of: Memory, array: tuple[int, int] = (4, 4)) -> dict[str, tuple[int, int]]:
    found = {name: entry.traffic for name, entry in costs(program, of, array).items()}
    return {name: (t.constants, t.activations) for name, t in found.items() if isinstance(t, Traffic)}


def test_by_hand_with_room_for_all() -> None:
    # 6 rows, 10 -> 5 -> 3. w1: 50 codes of 4 bits = 25 bytes, bias 5 words = 40; image 60 bytes. Requantizers: 3 words
    # a channel. w2: 15 codes = 7.5, so 8 bytes, bias 24. Codes between stay; the result, 18 codes of 4 bits, leaves.
    assert traffic(chain(6, (10, 5, 3)), memory(1, 1, 1)) == {
        "acc1": (25 + 40, 60), "x1": (120, 0), "acc2": (8 + 24, 0), "x2": (72, 9),
    }  # fmt: skip


def test_what_does_not_fit_is_spilled() -> None:
    # 300 rows: the image of 3000 bytes is read strip by strip; x1, 1500 codes of 4 bits, is written and read.
    program = chain(300, (10, 5, 3))
    assert traffic(program, memory(1, 1, 1))["acc1"] == (65, 3000)
    wide = chain(900, (10, 5, 3))
    found = traffic(wide, memory(1, 1, 2))
    assert (found["x1"], found["acc2"]) == ((120, 2250), (32, 2250))
    # One KiB more than x1 needs beside the image, which has been read by then but for the tiles in turn.
    assert traffic(wide, memory(1, 1, 3))["x1"] == (120, 0)


def test_a_chains_operands_stay_until_its_result_is_whole() -> None:
    """What is read and what is made lie in the buffer together: tiles take turns."""
    program = chain(512, (8, 8, 8))  # the image takes 4 KiB, x1 2 KiB
    assert traffic(program, memory(1, 1, 5))["x1"][1] == 2 * KIB
    assert traffic(program, memory(1, 1, 6))["x1"][1] == 0
    last = chain(512, (8, 8, 8, 8))  # x2 is made beside x1 alone
    assert traffic(last, memory(1, 1, 6))["x2"][1] == 0


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2))
def test_a_products_loads_tile_by_tile(m: int, rows: int, columns: int, fits: int) -> None:
    """Strip after strip of columns, in each the rows of the array's height: loads what its buffer does not hold."""
    n, k = 24, 1200
    whole, strip = n * k // 2, min(columns, n) * k // 2
    room = {0: 1, 1: -(-strip // KIB), 2: -(-whole // KIB)}[fits] * KIB
    loaded_a = loaded_w = 0
    for left in range(0, n, columns):
        width = min(columns, n - left)
        for top in range(0, m, rows):
            # A strip stays for all rows; of one too wide for the buffer nothing is there when it comes again.
            if top == 0 or room < strip:
                loaded_w += width * k // 2
            # With all weights in their buffer rows are the outer loop, and pass once.
            if left == 0 or room < whole:
                loaded_a += min(rows, m - top) * k
    program = chain(m, (k, n))
    spilled = replace(memory(1, 1, 1), weight_buffer_kib=room // KIB)
    found = traffic(program, spilled, (rows, columns))["acc1"]
    assert found == (loaded_w + 8 * n, loaded_a)


def test_cycles_of_bytes() -> None:
    program = chain(6, (10, 5, 3))
    plain = costs(program, None)
    assert {(e.memory_cycles, e.traffic, e.bound) for e in plain.values()} == {(None, None, "compute")}
    for name, entry in costs(program, memory(7, 1, 1)).items():
        assert entry.traffic is not None
        assert entry.memory_cycles == -(-entry.traffic.total // 7)
        assert entry.compute_cycles == plain[name].cycles
        assert entry.cycles == max(entry.compute_cycles, entry.memory_cycles)
        assert entry.bound == ("memory" if entry.memory_cycles > entry.compute_cycles else "compute")
        assert entry.utilisation == plain[name].utilisation * plain[name].cycles / entry.cycles
    for entry in costs(program, memory(7, 1, 1, double_buffered=False)).values():
        assert entry.cycles == entry.compute_cycles + (entry.memory_cycles or 0)
    assert {e.bound for e in costs(program, memory(3, 1, 1)).values()} == {"memory", "compute"}


def test_what_takes_as_long_is_not_waited_for() -> None:
    entry = costs(chain(6, (10, 5, 3)), memory(7, 1, 1))["acc1"]
    assert replace(entry, compute_cycles=9, memory_cycles=9).bound == "compute"
    assert replace(entry, compute_cycles=9, memory_cycles=10).bound == "memory"


def test_a_tensor_is_kept_for_its_last_reader_and_no_longer() -> None:
    """Each LayerNorm reads what the one before has made: two tensors of 512 bytes at a time, and room for no third."""
    names = ("image", "n1", "n2", "n3")
    program = Program(
        tensors={name: Tensor(shape=(8, 64), format=U8) for name in names}, constants={}, input="image", output="n3",
        operations=tuple(Operation(name=y, unit="layernorm", inputs={"x": x}, output=y, parameters={})
                         for x, y in pairwise(names)), provenance={}, decoding={},
    )  # fmt: skip
    placement = Placement(program, memory(1, 1, 1))
    moved = [placement.traffic(operation, None).activations for operation in program.operations]
    assert moved == [512, 0, 512]  # the image comes, the result leaves


def test_what_fits_exactly_fits() -> None:
    """16 columns of 128 codes of 4 bits are 1 KiB; of 32, two strips of 16 are 1 KiB each."""
    bias = 8 * 16
    assert traffic(chain(40, (128, 16)), memory(1, 1, 1), (4, 4))["acc1"] == (1024 + bias, 40 * 128)
    assert traffic(chain(40, (128, 32)), memory(1, 1, 1), (4, 16))["acc1"] == (2048 + 2 * bias, 2 * 40 * 128)


def test_weights_that_are_all_the_same_take_a_bit() -> None:
    program = chain(6, (16, 8))
    for step, size in ((0, 16 * 8 // 8), (1, 16 * 8 // 8), (2, 2 * 16 * 8 // 8)):
        same = np.full((8, 16), 5)
        same[0, 0] += step
        found = traffic(replace(program, constants=program.constants | {"w1": same}), memory(1, 1, 1))
        assert found["acc1"][0] == size + 8 * 8


def test_a_head_too_large_for_the_weight_buffer_is_read_in_strips() -> None:
    """K of one head, 40 x 64 codes of 8 bits, is 2.5 KiB; a strip of 10 columns is 640 bytes and fits 1 KiB."""
    operation = Operation(name="qk", unit="mac", inputs={"a": "q", "w": "k"}, output="y",
                          parameters={"a_zero_point": 9, "w_zero_point": 9, "acc_bits": 32})  # fmt: skip
    shapes = {"q": (3, 40, 64), "k": (3, 40, 64), "y": (3, 40, 40)}
    program = Program(
        tensors={name: Tensor(shape=shape, format=ACC if name == "y" else U8) for name, shape in shapes.items()},
        constants={}, operations=(operation,), input="q", output="y", provenance={}, decoding={},
    )  # fmt: skip
    placement = Placement(program, memory(1, 1, 1))
    whole, read = 3 * 40 * 40 * 4, 3 * 40 * 64
    # q, which comes from outside and does not fit, once for each of four strips; k, which nobody made, has no place.
    assert placement.traffic(operation, Array(rows=8, columns=10)).activations == 4 * read + whole
    assert (
        Placement(program, memory(1, 3, 1)).traffic(operation, Array(rows=8, columns=10)).activations
        == read + whole
    )


@pytest.mark.parametrize("scheme", ["repq", "fqvit", "ptq4vit"])
def test_more_buffer_and_bandwidth_never_cost_more(scheme: str) -> None:
    formats = Formats(scheme=read_scheme(scheme), weight_bits=4, act_bits=4)
    program, accelerator = outline(sizes_of("deit_tiny_patch16_224"), formats), Accelerator.load()

    def total(of: Memory | None) -> int:
        return cycles_per_image(schedule(program, replace(accelerator, memory=of)))

    free = total(None)
    for double_buffered in (True, False):
        by_bandwidth = [total(memory(b, 64, 64, double_buffered=double_buffered)) for b in (1, 4, 16, 64)]
        by_weights = [
            total(memory(4, kib, 64, double_buffered=double_buffered)) for kib in (1, 16, 256, 4096)
        ]
        by_codes = [total(memory(4, 64, kib, double_buffered=double_buffered)) for kib in (1, 1024, 4096)]
        for falling in (by_bandwidth, by_weights, by_codes):
            assert falling == sorted(falling, reverse=True)
            assert falling[-1] >= free
        assert by_bandwidth[0] > by_bandwidth[-1]
        assert by_weights[0] > by_weights[-1]
        assert by_codes[0] > by_codes[-1]


def test_weights_of_deit_base() -> None:
    """Every weight crosses once, at its own width: the layers' products alone, without biases and requantizers."""
    sizes = sizes_of("deit_base_patch16_224")
    for bits in (3, 4, 8):
        program = outline(sizes, Formats(scheme=read_scheme("repq"), weight_bits=bits, act_bits=4))
        large = replace(Accelerator.load(), memory=memory(16, 1 << 20, 1 << 20))
        products = [e for e in schedule(program, large) if e.unit == "mac" and e.operation.endswith("_acc")]
        crossed = sum(e.traffic.constants for e in products if e.traffic is not None)
        block, biases = 768 * 768 * 4 + 2 * 768 * 3072, 768 * 4 + 3072 + 768
        outside, outside_biases = 768 * 768 + 768 * 1000, 768 + 1000
        assert crossed == (12 * block + outside) * bits // 8 + 8 * (12 * biases + outside_biases)


def deit_tiny(scheme: str, of: Memory) -> dict[str, Traffic]:
    """Bytes of each operation of DeiT-Tiny at W4/A4: 197 tokens of 192 channels, MLP of 768."""
    formats = Formats(scheme=read_scheme(scheme), weight_bits=4, act_bits=4, capacity_at=lambda _: 2)
    accelerator = replace(Accelerator.load(), memory=of)
    entries = schedule(outline(sizes_of("deit_tiny_patch16_224"), formats), accelerator)
    return {entry.operation: entry.traffic for entry in entries if entry.traffic is not None}


def test_the_residual_stream_is_stored_as_its_sites_codes() -> None:
    """16 bits where it is stored as it is, FQ-ViT's 8 where it has a format of its own, which its decoder reads."""
    codes, tight = 197 * 192, memory(16, 1, 1)
    assert deit_tiny("repq", tight)["blocks.0.norm1"].activations == codes * 2 + codes // 2
    found = deit_tiny("fqvit", tight)
    assert found["blocks.0.norm1"].activations == codes + codes // 2
    assert found["blocks.0.attn.residual"].activations == codes
    assert found["blocks.0.attn.residual_aligned"].activations == 0


def test_constants_at_their_width() -> None:
    """Position and class embeddings as residual codes; weights behind log2 codes, channels in columns, at 4 bits."""
    large = memory(16, 1 << 20, 1 << 20)
    assert deit_tiny("repq", large)["embed"].constants == (197 + 1) * 192 * 2
    assert deit_tiny("adfq", large)["blocks.0.mlp.fc2_acc"].constants == 768 * 192 // 2


GOOD = """clock_mhz = 100
[memory]
bandwidth_bytes_per_cycle = 16
weight_buffer_kib = 256
activation_buffer_kib = 512
double_buffered = true
"""


def test_memory_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(GOOD, encoding="utf-8")
    assert Accelerator.load(file).memory == memory(16, 256, 512)
    assert Accelerator.load().memory is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("= 16", "= 0", r"m\.toml: \[memory\] bandwidth_bytes_per_cycle is 0; it must be a whole number from 1"),
        ("weight_buffer_kib = 256\n", "", r"\[memory\] weight_buffer_kib is missing; it must be a whole number"),
        ("= 512", "= 1.5", r"\[memory\] activation_buffer_kib is 1\.5"),
        ("= true", "= 1", r"\[memory\] double_buffered is 1; it must be true or false"),
        ("double_buffered = true\n", "", r"\[memory\] double_buffered is missing; it must be true or false"),
        ("weight_buffer_kib", "weight_kib", r"unknown key 'weight_kib'; the nearest known one is 'weight_buffer_kib'"),
        ("[memory]", "[memori]", r"unknown key 'memori'; the nearest known one is 'memory'"),
    ],
)  # fmt: skip
def test_mistakes_in_a_memory(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    file = tmp_path / "m.toml"
    file.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=message) as raised:
        Accelerator.load(file)
    assert "\n" not in str(raised.value)


def test_memory_must_be_a_table(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text("clock_mhz = 100\nmemory = 3\n", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"\[memory\] must be a table with bandwidth_bytes_per_cycle, weight_buffer"
    ):
        Accelerator.load(file)
    with pytest.raises(ValueError, match="memory: weight_buffer_kib must be at least 1, not 0"):
        memory(1, 0, 1)
