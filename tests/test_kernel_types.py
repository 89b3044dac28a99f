"""Every kernel in sim is integers throughout, whatever types the units and the program executor call it with."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numba.core import types
from numba.core.compiler import run_frontend
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numba.core.typed_passes import type_inference_stage

import sim
from reports.registry import entry, unit_names

ONE, FLAT, TABLE, CUBE = types.int64, types.int64[::1], types.int64[:, ::1], types.int64[:, :, ::1]
SUMS = types.int64[:, :, :, ::1]
FLAGS, FLAG_TABLE, FLAG_CUBE = types.boolean[::1], types.boolean[:, ::1], types.boolean[:, :, ::1]
WIDE = {
    "sim.accumulation._saturated_products": (CUBE, CUBE, FLAT, FLAGS, ONE, ONE, CUBE, FLAG_CUBE),
    "sim.accumulation._saturated_list": (TABLE, TABLE, ONE, FLAT, FLAGS, ONE, ONE, TABLE, FLAG_TABLE),
    "sim.accumulation._saturated_shifts": (CUBE, TABLE, CUBE, ONE, ONE, SUMS, FLAG_CUBE),
    "sim.log2_products._joined_sums": (CUBE, CUBE, *(ONE,) * 5, FLAT, CUBE),
    "sim.units.gelu._look_up": (FLAT, ONE, FLAT, FLAT),
    "sim.products._wide_products": (CUBE, CUBE, FLAT, CUBE),
    "sim.digits._split": (CUBE, TABLE, ONE, SUMS, TABLE),
    "sim.digits._join": (types.int32[:, :, :, :, ::1], TABLE, TABLE, TABLE, CUBE),
}
"""Signatures of sums beyond 32 bits and of large products, which no sweep reaches."""


def kernels() -> Iterator[tuple[str, Dispatcher]]:
    """Every numba function defined in a module of sim."""
    for module in pkgutil.walk_packages(sim.__path__, "sim."):
        for name, member in vars(importlib.import_module(module.name)).items():
            if isinstance(member, Dispatcher) and member.py_func.__module__ == module.name:
                yield f"{module.name}.{name}", member


def floats(function: Any, arguments: tuple[Any, ...]) -> list[str]:
    """Variables, calls and result of the function, typed for `arguments`, that are floating point."""
    typing, target = cpu_target.typing_context, cpu_target.target_context
    typing.refresh()
    target.refresh()
    inferred = type_inference_stage(typing, target, run_frontend(function), arguments, None)
    named = {**inferred.typemap, **inferred.calltypes, "result": inferred.return_type}
    return [
        f"{name}: {kind}" for name, kind in named.items() if "float" in str(kind) or "complex" in str(kind)
    ]


def test_no_kernel_has_a_float() -> None:
    for unit in unit_names():
        report = entry(unit).report
        # The last of a multiply-accumulator's has sums that saturate.
        for spec in (report.SWEEP[0], report.SWEEP[-1]):
            spec.run(**report.stimuli(spec, np.random.default_rng(0)))
    found: dict[tuple[str, tuple[Any, ...]], list[str]] = {}
    # A kernel that only kernels call gets its signature when its caller is typed afresh: until no more come.
    while fresh := {
        (name, arguments): kernel.py_func
        for name, kernel in kernels()
        for arguments in [*(signature.args for signature in kernel.nopython_signatures), WIDE.get(name)]
        if arguments and (name, arguments) not in found
    }:
        found |= {
            (name, arguments): floats(function, arguments) for (name, arguments), function in fresh.items()
        }
    assert {key: variables for key, variables in found.items() if variables} == {}
    checked = {name for name, _ in found}
    inlined = {name for name, kernel in kernels() if kernel.targetoptions.get("inline") == "always"}
    assert checked | inlined == {name for name, _ in kernels()}
    assert set(WIDE) <= checked


@pytest.mark.parametrize("expression", ["x[0] / 2", "x[0] * 0.5", "np.sqrt(x[0])", "x.mean()"])
def test_a_float_is_found(expression: str) -> None:
    """Even one that ends as an integer."""
    scope: dict[str, Any] = {"np": np}
    exec(f"def kernel(x):\n    y = {expression}\n    return np.int64(y)", scope)
    assert floats(scope["kernel"], (FLAT,))
