"""The search: its space makes the schemes it says, its study resumes and is shared, its verdict compares everything."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from golden.errors import UserError
from golden.formats import Integer
from golden.model import sites_of
from golden.scheme import Scheme, load_scheme
from reports.choice import Bits, Choice
from reports.cli import main
from reports.results import read
from reports.search import request as asked
from reports.search import run as running
from reports.search.area_model import size
from reports.search.found import Found
from reports.search.proxy import Estimate, Proxy, proxy_of
from reports.search.scheme_file import scheme_text
from reports.search.space import Space, Values, space_of
from reports.search.study import Search, open_study
from reports.search.survivors import front, survivors
from reports.search.verdict import Candidate, best_uniform, dominated, rank_correlation, verdict
from reports.tradeoff.hardware import Fitting
from reports.tradeoff.needs import fit, joined
from reports.tradeoff.rows import DesignPart
from reports.workload import load_workload
from sim.accelerator import Accelerator
from sim.units.mac import Mac

SCHEMES = ("repq", "adfq", "ptq4vit")


@pytest.fixture(scope="module")
def proxy() -> Proxy:
    """The digits, few images."""
    return proxy_of(load_workload(Choice(model="vitrtl_digits")), Accelerator.load(), 16)


@pytest.fixture(scope="module")
def space(proxy: Proxy) -> Space:
    """Around RepQ-ViT, with the formats of two others."""
    schemes = [load_scheme(name) for name in SCHEMES]
    return space_of(schemes, sites_of(proxy.workload.model), 3, 8, "kind")


def mixed(space: Space, **changed: int | str) -> dict[str, int | str]:
    """RepQ-ViT at 4 bits but for what is `changed`, blanks and dots of names as underscores."""
    values = space.uniform(space.schemes[0], Bits(weight=4, act=4))
    assert values is not None
    names = {name.replace(" ", "_").replace(".", "_"): name for name in values}
    return values | {names[name]: value for name, value in changed.items()}


# The space and its schemes


def test_every_width_and_format_is_the_one_chosen(space: Space) -> None:
    values = mixed(space, weights_mlp_fc1=7, codes_norm1=3, codes_mlp_gelu=5, format_post_layernorm="adfq")
    scheme = space.scheme("mixed-0", values)
    for layer in space.sites.layers:
        assert scheme.weight_bits_at(layer, 2) == (7 if layer.endswith("fc1") else 4)
    chosen = {"norm1": 3, "gelu": 5}
    for site, kind in space.sites.activations.items():
        entry = scheme.format_at(site, kind)
        donor = load_scheme("adfq" if kind == "post_layernorm" else "repq").format_at(site, kind)
        if entry is None or donor is None or donor.bits is not None:
            assert entry == donor
        else:
            assert entry == donor.model_copy(update={"bits": chosen.get(site.rpartition(".")[2], 4)})


@pytest.mark.parametrize("per", ["kind", "block", "layer"])
def test_every_layer_has_exactly_one_width(space: Space, per: asked.Per) -> None:
    made = space_of(space.schemes, space.sites, 3, 8, per)
    assert sorted(name for group in made.weights for name in group.members) == sorted(space.sites.layers)
    for number, group in enumerate(made.weights):
        values = dict.fromkeys(made.choices, 3) | {f"weights {group.name}": 8}
        values |= {f"format {kind}": names[0] for kind, names in made.formats.items()}
        scheme = made.scheme(f"mixed-{number}", values)
        eight = tuple(name for name in space.sites.layers if scheme.weight_bits_at(name, 2) == 8)
        assert eight == group.members


def test_a_uniform_configuration_is_its_scheme(space: Space, proxy: Proxy) -> None:
    bits = Bits(weight=4, act=4)
    own, _ = proxy.measure(space.schemes[0], bits)
    again, _ = proxy.measure(space.scheme("mixed-0", mixed(space)), bits)
    assert again == own


def test_narrowing_takes_one_bit_from_some_widths(space: Space) -> None:
    values = mixed(space, weights_mlp_fc1=3)
    for seed in range(20):
        narrow = space.narrower(values, random.Random(seed))
        changed = {name for name in values if narrow[name] != values[name]}
        assert len(changed) <= len(space.weights) + len(space.activations)
        assert all(narrow[name] == 3 and values[name] == 4 for name in changed)
    assert changed


@pytest.mark.parametrize("name", ["repq", "adfq", "tsptq", "fqvit", "dopq", "mixed"])
def test_a_scheme_file_is_read_back_as_it_was(name: str, space: Space, tmp_path: Path) -> None:
    values = mixed(space, format_gelu="adfq", format_post_layernorm="adfq", weights_head=8)
    scheme = space.scheme("mixed-3", values) if name == "mixed" else load_scheme(name)
    file = tmp_path / "scheme.toml"
    file.write_text(scheme_text(scheme, "a comment"), encoding="utf-8")
    assert load_scheme(str(file)) == scheme


# The proxy, the needs and the area model


def test_the_proxy_knows_fewer_bits_from_more(proxy: Proxy) -> None:
    scheme = load_scheme("repq")
    found = [proxy.measure(scheme, Bits(weight=bits, act=bits))[0] for bits in (3, 5, 8)]
    assert found[0].logits_db < found[1].logits_db < found[2].logits_db
    assert found[0].sites_db < found[1].sites_db < found[2].sites_db
    weights = sum(
        proxy.workload.model.weights[f"{n}.weight"].numel() for n in sites_of(proxy.workload.model).layers
    )
    assert found[0].weight_kib == weights * 3 / 8 / 1024


def test_a_need_covers_every_parameter_set() -> None:
    def mac(a: int, w: int, acc: int) -> Mac:
        return Mac(
            a_format=Integer(bits=a, signed=False), w_format=Integer(bits=w, signed=False),
            a_zero_point=1, w_zero_point=2, acc_bits=acc,
        )  # fmt: skip

    both = joined([mac(4, 8, 20), mac(6, 5, 18)])
    assert isinstance(both, Mac)
    assert (both.a_format.bits, both.w_format.bits, both.acc_bits) == (6, 8, 20)
    signed = joined([mac(4, 4, 16), replace(mac(3, 4, 16), a_format=Integer(bits=4, signed=True))])
    assert isinstance(signed, Mac)
    assert signed.a_format == Integer(bits=5, signed=True), "a signed code of 4 bits does not hold 0 to 15"


def test_needs_of_a_mixed_program_cover_its_products(space: Space, proxy: Proxy) -> None:
    values = mixed(space, weights_attn_qkv=8, codes_norm1=3, weights_mlp_fc2=3, codes_mlp_gelu=6)
    _, needs = proxy.measure(space.scheme("mixed-0", values), space.widest("mixed-0", values))
    spec = next(need.spec for need in needs if need.unit == "mac" and not need.edge)
    assert isinstance(spec, Mac)
    # A weight of 8 bits less its zero point takes 9.
    assert (spec.a_format.bits, spec.w_format.bits) == (6, 9)


# Survivors and the verdict


def found(number: int, db: float, area: float, kib: float = 1.0) -> Found:
    """A configuration of such figures."""
    estimate = Estimate(logits_db=db, sites_db=db, agreement=0.5, weight_kib=kib, cycles=100)
    return Found(number=number, values={"x": number}, estimate=estimate, area=area)


def test_survivors_are_challengers_and_the_front() -> None:
    every = [
        found(0, 9, 90),
        found(1, 20, 300),
        found(2, 8, 80),
        found(3, 5, 70),
        found(4, 4, 75),
        found(5, 7, 100),
    ]
    assert [each.number for each in front(every, ("area",))] == [1, 0, 2, 3]
    rival = {"area": 100.0, "weight_kib": 1.0, "cycles": 100.0}
    assert [each.number for each in survivors(every, ("area",), rival, 4)] == [0, 1, 2, 3]
    assert [each.number for each in survivors(every, ("area",), rival | {"cycles": 99.0}, 2)] == [1, 3]


def candidate(
    run: str, top1: float, area: float, kib: float = 10.0, dsps: float = 0, *, mixed: bool = True
) -> Candidate:
    """A configuration of such figures."""
    estimate = Estimate(logits_db=1, sites_db=1, agreement=1, weight_kib=kib, cycles=100)
    return Candidate(run=run, mixed=mixed, top1=top1, area=area, dsps=dsps, estimate=estimate, predicted=area)


def test_dominance_compares_everything() -> None:
    base = candidate("u", 98.0, 100, dsps=4, mixed=False)
    assert candidate("m", 98.0, 99, dsps=4).dominates(base)
    assert candidate("m", 98.0, 100, kib=9, dsps=4).dominates(base)
    assert not candidate("m", 98.0, 100, dsps=4).dominates(base), "equal in everything"
    assert not candidate("m", 97.9, 50, dsps=4).dominates(base)
    assert not candidate("m", 99.0, 50, kib=11, dsps=4).dominates(base)
    assert not candidate("m", 99.0, 50, dsps=5).dominates(base)


def test_the_verdict_is_on_the_best_uniform_point() -> None:
    low, best = candidate("u3", 95.0, 50, mixed=False), candidate("u4", 98.0, 100, mixed=False)
    none = [low, best, candidate("m1", 97.0, 40)]
    assert best_uniform(none) is best
    assert dominated(none) == {"u3": ("m1",)}
    assert verdict(none, "LUT").startswith("No mixed configuration of this search dominates the best")
    told = verdict([*none, candidate("m2", 98.0, 90, 8.0)], "LUT")
    assert told.startswith("m2 dominates the best uniform-width point, u4")
    assert "10.0 % less LUT" in told
    assert "20.0 % less weight memory for +0.00 points" in told


def test_rank_correlation_without_a_rank_is_unknown() -> None:
    assert rank_correlation([1, 2, 3], [5, 4, 1]) == -1
    assert rank_correlation([1, 2, 3], [5, 5, 5]) is None
    assert rank_correlation([1, 2], [1, 2]) is None


# The study


def fake(space: Space) -> Callable[[int, Values], Found]:
    """A measurement that takes no time: wider is better and dearer; some configurations cannot be had."""

    def measure(number: int, values: Values) -> Found:
        bits = [int(value) for value in values.values() if isinstance(value, int)]
        if bits[0] > 5:
            raise ValueError("so many bits\nare refused")
        return found(number, float(sum(bits)), float(max(bits)), float(sum(bits) / 10)).model_copy(
            update={"values": dict(values)}
        )

    return measure


def search_in(file: Path, space: Space, seed: int = 0, budget: tuple[tuple[str, float], ...] = ()) -> Search:
    study = open_study(f"sqlite:///{file}", "test", ("area", "weight_kib"))
    return Search(
        study=study, space=space, seed=seed, objectives=("area", "weight_kib"), budget=budget, startup=5
    )


def trials(search: Search) -> list[object]:
    return [(trial.params, trial.values) for trial in search.study.get_trials()]


def test_a_search_goes_on_as_if_it_had_never_stopped(space: Space, tmp_path: Path) -> None:
    first = [mixed(space)]
    whole = search_in(tmp_path / "whole.db", space)
    whole.run(10, first, fake(space))
    for count in (3, 8, 10):
        search_in(tmp_path / "parts.db", space).run(count, first, fake(space))
    assert trials(search_in(tmp_path / "parts.db", space)) == trials(whole)
    assert whole.study.trials[0].params == first[0], "the uniform point comes first"
    drawn = {str(trial.params) for trial in whole.study.trials}
    assert len(drawn) >= 6, "one configuration is drawn again and again"
    assert whole.failures() > 0, "no configuration was refused: the test shows less than it should"
    other = search_in(tmp_path / "other.db", space, seed=1)
    other.run(3, first, fake(space))
    assert trials(other) != trials(whole)[:3]


def test_what_is_beyond_the_budget_is_not_found(space: Space, tmp_path: Path) -> None:
    limited = search_in(tmp_path / "search.db", space, budget=(("weight_kib", 6.0),))
    limited.run(10, [mixed(space)], fake(space))
    assert limited.found()
    assert all(each.estimate.weight_kib <= 6.0 for each in limited.found())
    assert len(limited.found()) < 10 - limited.failures(), "nothing was beyond it"


def _share(file: Path, space: Space) -> None:
    """Trials without an end, one every 50 ms."""
    measure, search = fake(space), search_in(file, space)

    def slow(number: int, values: Values) -> Found:
        time.sleep(0.05)
        return measure(number, values)

    search.run(100_000, [], slow)


def test_processes_share_a_study_and_one_may_be_killed(space: Space, tmp_path: Path) -> None:
    file = tmp_path / "search.db"
    here = search_in(file, space)
    other = multiprocessing.get_context("spawn").Process(target=_share, args=(file, space))
    other.start()
    deadline = time.monotonic() + 120
    while not (first := len(here.study.get_trials())) and time.monotonic() < deadline:
        time.sleep(0.1)
    here.run(first + 6, [], fake(space))
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    numbers = {trial.number for trial in here.study.get_trials()}
    assert numbers == set(range(len(numbers)))
    here.run(len(numbers) + 1, [], fake(space))
    assert here.found()


def test_a_trial_of_another_version_is_refused(space: Space, tmp_path: Path) -> None:
    search = search_in(tmp_path / "search.db", space)
    trial = search.study.ask()
    trial.set_user_attr("found", {"number": 0})
    search.study.tell(trial, [1.0, 1.0, 1.0])
    with pytest.raises(UserError, match="trial 0 of the study is not this version's"):
        search.found()


# The command


def vitrtl(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Runs the command in this process; its exit code."""
    monkeypatch.setattr("sys.argv", ["vitrtl", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--range 8-3", "--range must be two widths from 2 to 8, such as 3-8"),
        ("--range 3", "--range must be"),
        ("--per head", "--per must be one of kind, block, layer"),
        ("--budget luts=4", "--budget must be such as area=50000"),
        ("--budget cycles=0", "--budget must be"),
        ("--minimise power", "--minimise must be one of area, weight_kib, cycles"),
        ("--target gold", "--target must be one of"),
        ("--target asic", "--liberty FILE"),
        ("--trials 0", "--trials must be at least 1"),
        ("--uniform 9", "--weight-bits must be from 2 to 8"),
        ("--scheme adfq", "name another scheme first"),
        ("--scheme repqq", "did you mean repq?"),
    ],
)
def test_mistakes_are_one_line(
    options: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert vitrtl(monkeypatch, "search", *options.split(), "--out", str(tmp_path / "out")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert says in lines[0]


def test_a_missing_optuna_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asked.importlib.util, "find_spec", lambda name: None)
    assert vitrtl(monkeypatch, "search", "--out", str(tmp_path / "out")) == 2
    assert "pip install 'vitrtl[search]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_storage_that_cannot_be_used_is_one_line() -> None:
    for url in ("sqlite:////nowhere/at/all/search.db", "nonsense", "postgresql://localhost:1/none"):
        with pytest.raises(UserError, match=f"--storage {url} cannot be used: [^\n]+$"):
            open_study(url, "test", ("area",))


def sized(
    points: dict[str, object], accelerators: dict[str, Accelerator], wanted: SimpleNamespace
) -> Fitting:
    """Stands for synthesis: ten LUTs for each bit that the area model counts."""
    (accelerator,), (target,) = accelerators.values(), wanted.targets
    return Fitting(
        parts={
            (run, target): tuple(
                DesignPart(
                    run=run, unit=need.unit, edge=need.edge, spec="spec", specs=need.specs, copies=count,
                    operations=need.operations, target=target, luts=10 * size(need.spec), tools="none 1",
                )
                for need, count in fit(point.needs, accelerator)  # type: ignore[attr-defined]
            )
            for run, point in points.items()
        },
        failures=(),
    )  # fmt: skip


def test_a_search_of_the_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "fitted", sized)
    out = tmp_path / "out"
    command = (
        f"search --scheme repq --range 3-5 --uniform 4 --survivors 1 --proxy-images 8 --out {out} --trials"
    )
    assert vitrtl(monkeypatch, *command.split(), "3") == 0
    results = read(out / "results.json")
    run = next(design.run for design in results.tables.designs if design.run.startswith("mixed-"))
    assert results.command == "search"
    assert {design.run for design in results.tables.designs} == {"repq W4/A4", run}
    file = out / "schemes" / f"{run.partition(' ')[0]}.toml"
    design = next(design for design in results.tables.designs if design.run == run)
    assert Scheme.model_validate(design.config["scheme"]) == load_scheme(str(file))
    summary = (out / "search.md").read_text(encoding="utf-8")
    assert "the best uniform-width point, repq W4/A4" in summary
    assert "rank correlation of SQNR of the logits with integer top-1" in summary
    before = results.tables.designs
    capsys.readouterr()
    assert vitrtl(monkeypatch, *command.split(), "3") == 0
    assert "1 of 1 points taken from" in capsys.readouterr().err, "a finished search measures nothing again"
    assert read(out / "results.json").tables.designs == before
