"""Products as whole models run them: matrices of several groups, where a stream has one row after the other."""

from inspect import signature
from typing import Any

import numpy as np

from reports.registry import Entry, reference_parameters
from sim.unit import Codes, Unit

GROUPS, ROWS, DEPTH, COLUMNS = 2, 3, 9, 5


def batches(unit: Entry, spec: Unit, rng: np.random.Generator) -> list[dict[str, Codes]]:
    """Operands of `spec.compute`, and as `due` what golden's reference makes of them; none for a unit without products.

    Once with weights shared by all groups, once with weights of each group's own. Another unit's `run` computes all
    beats of its streams at once already.
    """
    names = [p.name for p in signature(unit.golden).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    if not {"a", "w"} <= set(names) or not hasattr(spec, "overflows"):
        return []
    a = _codes(rng, spec.inputs["a"].format, (GROUPS, ROWS, DEPTH))
    if unit.name == "outlier_mac":  # the words' indices, their high bits, lie within the depth
        bits = spec.value_bits  # type: ignore[attr-defined]
        a = (a & ((1 << bits) - 1)) | (rng.integers(0, DEPTH, a.shape) << bits)
    shape = (DEPTH, COLUMNS) if unit.name == "log2_mac" else (COLUMNS, DEPTH)
    found = []
    for lead in ((), (GROUPS,)):
        if lead and unit.name == "outlier_mac":
            continue  # its weights are constants
        operands = {"a": a, "w": _codes(rng, spec.inputs["w"].format, (*lead, *shape))}
        if "bias" in names:
            wide = spec.acc_format  # type: ignore[attr-defined]
            ends = 3 if spec.overflow == "none" else wide.max_code  # type: ignore[attr-defined]
            operands["bias"] = rng.integers(-ends, ends, COLUMNS, endpoint=True)
        overflows = np.array([spec.overflows(**operands)])
        found.append({**operands, "overflows": overflows, "due": _reference(unit, spec, operands)})
    return found


def _codes(rng: np.random.Generator, format: Any, shape: tuple[int, ...]) -> Codes:
    """Half of them at the ends of the format, so that narrow accumulators overflow."""
    ends = rng.choice([format.min_code, format.max_code], shape)
    return np.where(
        rng.random(shape) < 0.5, ends, rng.integers(format.min_code, format.max_code, shape, endpoint=True)
    )


def _reference(unit: Entry, spec: Unit, operands: dict[str, Codes]) -> Codes:
    import torch

    tensors = {name: torch.from_numpy(codes) for name, codes in operands.items()}
    due: Codes = unit.golden(**tensors, **reference_parameters(unit.golden, spec)).numpy()
    return due
