"""Units of the edge: what lies outside the blocks runs on them, everything else does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golden.errors import UserError
from golden.program import Program
from reports.tradeoff.needs import Need, fit, needs_of
from sim.accelerator import Accelerator, Array
from sim.schedule import OperationCycles, schedule


def by_name(program: Program, accelerator: Accelerator) -> dict[str, OperationCycles]:
    return {entry.operation: entry for entry in schedule(program, accelerator)}


def test_only_operations_outside_the_blocks_run_on_the_edges_units(digits_program: Any) -> None:
    program, shared = digits_program(4), replace(Accelerator.load(), edge={})
    before = by_name(program, shared)
    after = by_name(program, replace(shared, edge={"mac": Array(rows=2, columns=2)}))
    slower = {name for name, entry in after.items() if entry.cycles > before[name].cycles}
    assert slower == {"patch_embed.proj_acc", "head_acc"}
    assert all(after[name] == before[name] for name in before.keys() - slower)


def test_units_that_serve_both_are_as_wide_as_the_wider(digits_program: Any) -> None:
    needs, described = needs_of(digits_program(4)), Accelerator.load()
    apart = {(need.unit, need.edge): (need, copies) for need, copies in fit(needs, described)}
    # Pixels have 8 bits, codes in the blocks 4.
    assert apart["mac", True][0].spec.inputs["a"].format.bits == 8
    assert apart["mac", False][0].spec.inputs["a"].format.bits == 4
    assert [apart["mac", edge][1] for edge in (True, False)] == [256, 1024]
    together = {need.unit: need for need, _ in fit(needs, replace(described, edge={}))}
    assert together["mac"].spec == apart["mac", True][0].spec
    assert {"patch_embed.proj_acc", "attn.qkv_acc"} <= set(together["mac"].operations)
    assert not any(need.edge for need in together.values())


def test_needs_are_read_back_as_they_were(digits_program: Any) -> None:
    for need in needs_of(digits_program(6)):
        assert Need.model_validate_json(need.model_dump_json()).spec == need.spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("edge = 3", "[edge] must hold tables of units, such as [edge.mac]"),
        ("[edge.mack]\nrows = 1\ncolumns = 1", "[edge] unknown key 'mack'; the nearest known one is 'mac'"),
        ("[edge.mac]\nrows = 1\ncolumns = 0", "[edge.mac] columns is 0; it must be a whole number from 1"),
    ],
)
def test_mistakes_in_the_description(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(f"clock_mhz = 100\n{text}\n")
    with pytest.raises(UserError) as raised:
        Accelerator.load(file)
    assert said in str(raised.value)
