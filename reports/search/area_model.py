"""Area of a configuration before its synthesis: each unit's area per bit, as the uniform points' synthesis found it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from golden.errors import UserError
from reports.tradeoff.answers import COSTS
from reports.tradeoff.needs import Need, fit
from reports.tradeoff.rows import DesignPart
from sim.accelerator import Accelerator
from sim.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaModel:
    """Area is about proportional to `size` within one unit; the factors are measured, not assumed."""

    accelerator: Accelerator
    per_size: Mapping[str, float]
    """Unit -> its area over its size, the median of all that were synthesised."""

    def estimate(self, needs: tuple[Need, ...]) -> float:
        """Area of the accelerator that `needs` take, in the target's main resource."""
        typical = median(self.per_size.values())
        return sum(
            count * size(need.spec) * self.per_size.get(need.unit, typical)
            for need, count in fit(needs, self.accelerator)
        )


def area_model(
    needs: Mapping[str, tuple[Need, ...]],
    parts: Mapping[str, Sequence[DesignPart]],
    accelerator: Accelerator,
    target: str,
) -> AreaModel:
    """Factors from synthesised designs; `needs` and `parts` by run. UserError where nothing could be synthesised."""
    resource, _ = COSTS[target]
    ratios: dict[str, list[float]] = {}
    for run, found in needs.items():
        areas = {(part.unit, part.edge): getattr(part, resource) for part in parts[run]}
        for need, _ in fit(found, accelerator):
            area = areas[need.unit, need.edge]
            if area is not None:
                ratios.setdefault(need.unit, []).append(area / size(need.spec))
    if not ratios:
        raise UserError(
            f"no unit of any uniform point could be synthesised for {target}; the lines above say why"
        )
    return AreaModel(accelerator=accelerator, per_size={unit: median(of) for unit, of in ratios.items()})


def size(spec: Unit) -> int:
    """Partial products of a multiply-accumulator and its accumulator's bits, or the port bits of any other unit."""
    ports = {**spec.inputs, **spec.outputs}
    bits = {name: port.format.bits * port.lanes for name, port in ports.items()}
    if {"a", "w"} <= bits.keys():
        return bits["a"] * bits["w"] + bits.get("bias", 0)
    return sum(bits.values())
