"""What the tests of the search share: the digits' space, and configurations with made-up figures."""

from golden.model import sites_of
from golden.scheme import load_scheme
from reports.choice import Bits, Choice
from reports.search.found import Found
from reports.search.proxy import Estimate
from reports.search.space import Space, space_of
from reports.workload import load_workload

SCHEMES = ("repq", "adfq", "ptq4vit")


def digits_space() -> Space:
    """Around RepQ-ViT, with the formats of two others."""
    model = load_workload(Choice(model="vitrtl_digits")).model
    return space_of([load_scheme(name) for name in SCHEMES], sites_of(model), 3, 8, "kind")


def mixed(space: Space, **changed: int | str) -> dict[str, int | str]:
    """RepQ-ViT at 4 bits but for what is `changed`, blanks and dots of names as underscores."""
    values = space.uniform(space.schemes[0], Bits(weight=4, act=4))
    assert values is not None
    names = {name.replace(" ", "_").replace(".", "_"): name for name in values}
    return values | {names[name]: value for name, value in changed.items()}


def found(number: int, db: float, area: float, kib: float = 1.0) -> Found:
    """A configuration of such figures."""
    estimate = Estimate(logits_db=db, sites_db=db, agreement=0.5, weight_kib=kib, cycles=100)
    return Found(number=number, values={"x": number}, estimate=estimate, area=area)
