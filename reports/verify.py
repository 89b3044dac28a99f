"""`vitrtl verify`: every unit at its sweep and on the model's tensors; proofs and planted faults on request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from golden.errors import UserError
from golden.scheme import load_scheme
from reports.choice import Bits, Choice
from reports.commands import publish, report_failures, results_of
from reports.evaluation import Evaluation
from reports.program_check import Check, checks_of, run_checks, sweep_checks, table_row
from reports.progress import console
from reports.registry import unit_names
from reports.tables import Tables
from reports.verification import Effort, write_junit
from reports.verification_rows import Mutants
from reports.workload import Workload, load_workload
from rtl.cosim.runner import find_simulator
from rtl.volume import library
from sim.accelerator import Accelerator

IMAGES = 4
"""Images whose tensors drive the RTL: 4 images of DeiT-Tiny give 28,368 rows of scores to choose from."""
VECTORS, FEW_VECTORS = 1_000_000, 20_000
"""Seeded vectors for a compiled library; for a quick run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `vitrtl verify` was asked to do."""

    choice: Choice
    bits: Bits
    schemes: tuple[str, ...] = ()
    """Further ones, of whose programs the units are verified as well."""
    units: tuple[str, ...]
    """None: all."""
    out: Path
    rows: int
    """Real rows per spec for the simulator."""
    simulator: str | None
    quick: bool
    """The first point of each sweep, and few vectors."""
    real: bool = False
    """The programs' operations on their real tensors alone, without the sweeps."""
    prove: bool
    mutate: bool
    sample: int | None
    """Faults per file at most; None: all."""


def run_verify(request: Request) -> bool:
    """RTL against the simulator; True when all agreed, no proof was refuted and no planted fault survived.

    Writes verify.xml (JUnit), results.json, report.html and a folder per unit and spec; a waveform where one failed.
    """
    simulator = find_simulator(request.simulator)
    units = tuple(_known(unit) for unit in request.units) or tuple(unit_names())
    effort = Effort(simulator=simulator.name, vectors=_vectors(request.quick), proof=request.prove)
    workload, accelerator = load_workload(request.choice), Accelerator.load()
    console.print(f"simulator: {simulator.version}", highlight=False)
    checks = [] if request.real else [check for unit in units for check in _sweep(unit, request.quick)]
    works = _works(workload, request)
    for work, bits in works:
        checks += _program_checks(work, bits, accelerator, units, request)
    if not checks:
        raise UserError(
            f"none of the programs runs {' or '.join(units)}; leave out --real or name other schemes"
        )
    seed = request.choice.seed
    findings = run_checks(checks, request.out / "rtl", seed, effort)
    report_failures(findings)
    mutants = _mutants(request, units) if request.mutate else ()
    rows = tuple(table_row(finding, request.out) for finding in findings)
    write_junit(request.out / "verify.xml", findings, mutants)
    publish(
        results_of(
            "verify",
            workload,
            Tables(verification=rows, mutants=mutants),
            accelerator,
            *(bits for _, bits in works),
            seed=seed,
            captured_images=IMAGES,
        ),
        request.out,
    )
    return all(finding.passed for finding in findings) and not any(row.survivors for row in mutants)


def _works(workload: Workload, request: Request) -> list[tuple[Workload, Bits]]:
    """The workload under each scheme asked for; with several a run is named by its scheme as well."""
    schemes = [load_scheme(name) for name in request.schemes]
    if not schemes:
        return [(workload, request.bits)]
    names = [workload.scheme.name, *(scheme.name for scheme in schemes)]
    if twice := next((name for n, name in enumerate(names) if name in names[:n]), None):
        raise UserError(f"two schemes are called {twice}; give each once, and a file a name of its own")
    return [
        (work, replace(request.bits, prefix=work.scheme.name))
        for work in (workload, *(workload.with_scheme(scheme) for scheme in schemes))
    ]


def _program_checks(
    work: Workload, bits: Bits, accelerator: Accelerator, units: tuple[str, ...], request: Request
) -> list[Check]:
    """Units at the parameters of a program's operations, on what these take in the simulator."""
    evaluation = Evaluation(
        workload=work, accelerator=accelerator, batch_size=IMAGES, checked_images=IMAGES, out=request.out
    )
    run = evaluation.lowered(bits)
    return list(checks_of(run.program, run.tensors, units, request.rows, bits.label))


def _known(unit: str) -> str:
    """The name; UserError with the nearest one where it is none."""
    known = unit_names()
    if unit in known:
        return unit
    near = get_close_matches(unit, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"there is no unit {unit!r}; units: {', '.join(known)}{hint}")


def _vectors(quick: bool) -> int | None:
    """Seeded vectors per spec; None, and a line that says so, where no library can be built."""
    if (reason := library.missing()) is not None:
        console.print(f"[yellow]no compiled library, so no volume[/yellow]: {reason}", highlight=False)
        return None
    return FEW_VECTORS if quick else VECTORS


def _sweep(unit: str, quick: bool) -> Sequence[Check]:
    checks = sweep_checks(unit)
    return checks[:1] if quick else checks


def _mutants(request: Request, units: tuple[str, ...]) -> tuple[Mutants, ...]:
    """The mutation run of these units, by file."""
    from reports.mutation.run import run_mutation

    result = run_mutation(
        units if request.units else (), request.out / "mutation", request.choice.seed, sample=request.sample
    )
    return tuple(
        Mutants(
            file=file.path,
            faults=file.faults,
            planted=len(file.verdicts),
            killed=file.count("killed"),
            equivalent=file.count("equivalent"),
            survivors=tuple(verdict.where for verdict in file.survivors),
        )
        for file in result.files
    )
