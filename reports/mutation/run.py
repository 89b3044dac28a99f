"""The mutation run: prepares the cases, plants every fault, asks the workers, keeps what is finished."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import rtl
from golden.errors import UserError
from reports.mutation.cases import Case, prepare
from reports.mutation.operators import Mutant, mutants
from reports.mutation.pool import answers
from reports.mutation.table import EQUIVALENT, KILLED, SURVIVED, FileResult, MutationResult, Verdict
from reports.mutation.targets import AXI, targets
from reports.progress import bar, track
from reports.registry import entry, unit_names

LAYERS = ("rtl", "sim")
PACKAGES = ("golden", "sim", "rtl", "reports")


def run_mutation(
    units: tuple[str, ...],
    out: Path,
    seed: int,
    *,
    layers: Sequence[str] = LAYERS,
    files: Sequence[str] | None = None,
    sample: int | None = None,
    workers: int = 2,
    root: Path | None = None,
) -> MutationResult:
    """Plants faults in the hardware and the models of `units`, by default all, and says which were found.

    Args:
        units: names of units; what they share is mutated with them, and judged by them.
        out: gets the cases, `mutants.jsonl` with every verdict, from which an interrupted run goes on, and
            `mutation.json`.
        seed: of the stimuli.
        layers: rtl, sim or both.
        files: only these of the files that would be mutated, such as `rtl/row.py`.
        sample: faults per file at most, chosen by their hashes; None: all.
        workers: processes that judge at the same time.
        root: the sources; by default those that run.

    Raises:
        UserError: an unknown unit or file, or Icarus Verilog is not installed.
    """
    if not shutil.which("iverilog"):
        raise UserError("the mutation run needs Icarus Verilog: apt install iverilog")
    root = snapshot(root or Path(rtl.__file__).resolve().parents[1], out.resolve() / "sources")
    names = [entry(name).name for name in sorted(set(units)) or unit_names()]
    judged_by = _chosen(targets(root, names), layers, files)
    wanted = sorted({(name, path == AXI) for path, judges in judged_by.items() for name in judges})
    cases = {
        (name, axi): list(prepare(entry(name), out.resolve(), seed, axi=axi))
        for name, axi in track("Cases", wanted, len(wanted))
    }
    faults = {path: mutants(root, path) for path in judged_by}
    planted = {path: _sampled(found, sample) for path, found in faults.items()}
    judging = {
        path: _ordered([cases[name, path == AXI] for name in judges]) for path, judges in judged_by.items()
    }
    run = _Run(root, out / "mutants.jsonl", judging)
    found = run.verdicts([mutant for chosen in planted.values() for mutant in chosen], workers)
    result = MutationResult(
        files=tuple(
            FileResult(
                path=path, faults=len(faults[path]), verdicts=tuple(found[mutant.key] for mutant in chosen)
            )
            for path, chosen in planted.items()
        ),
        seed=seed,
    )
    result.write(out / "mutation.json")
    return result


def snapshot(root: Path, copy: Path) -> Path:
    """Copies the sources, from which the workers import: an edit in the middle of a run changes nothing."""
    shutil.rmtree(copy, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(root / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def _chosen(
    found: Mapping[str, list[str]], layers: Sequence[str], files: Sequence[str] | None
) -> dict[str, list[str]]:
    for path in files or ():
        if path not in found:
            raise UserError(f"no fault is planted in {path}; the files are {', '.join(found)}")
    return {
        path: judges
        for path, judges in found.items()
        if path.partition("/")[0] in layers and (files is None or path in files)
    }


def _sampled(found: list[Mutant], sample: int | None) -> list[Mutant]:
    """All of them, or those with the smallest hashes, in the order of the text."""
    chosen = sorted(found, key=lambda mutant: mutant.key)[:sample]
    return sorted(chosen, key=lambda mutant: mutant.number)


def _ordered(cases: Sequence[list[Case]]) -> list[Case]:
    """The cases of some units, the shortest first: most faults need no long one."""
    return sorted((case for of_unit in cases for case in of_unit), key=lambda case: case.cycles)


class _Run:
    def __init__(self, root: Path, kept: Path, cases: Mapping[str, list[Case]]) -> None:
        self.root, self.kept, self.cases = root, kept, cases
        self.digests = {str(case.folder): case for judging in cases.values() for case in judging}
        self.known = {case.name: case.digest for case in self.digests.values()}

    def verdicts(self, planted: Sequence[Mutant], workers: int) -> dict[str, Verdict]:
        """Verdict of each, by key; those of an earlier run where they still hold."""
        found = self._earlier({mutant.key: mutant for mutant in planted})
        left = [mutant for mutant in planted if mutant.key not in found]
        unproven = []
        with bar("Mutants", len(planted), len(found)) as advance:
            tasks = [self._task(mutant, "judge", self._folders(mutant)) for mutant in left]
            for n, answer in answers(tasks, workers, self.root):
                if answer["killed"] or not self._may_be_proven(left[n], answer):
                    found[left[n].key] = self._keep(self._judged(left[n], answer))
                    advance(1)
                else:
                    unproven.append((left[n], answer))
            unproven.sort(key=lambda one: self._cost(one[1]["alike"]))
            tasks = [
                self._task(mutant, "prove", self._shortest(answer["alike"])) for mutant, answer in unproven
            ]
            for n, proof in answers(tasks, workers, self.root):
                mutant, answer = unproven[n]
                answer = answer | proof | {"seconds": answer["seconds"] + proof["seconds"]}
                found[mutant.key] = self._keep(self._judged(mutant, answer))
                advance(1)
        return found

    @staticmethod
    def _may_be_proven(mutant: Mutant, answer: Mapping[str, Any]) -> bool:
        """A netlist can be proven equal; that a model is equal for all inputs cannot be seen from netlists."""
        return mutant.path.startswith("rtl/") and bool(answer["alike"])

    def _cost(self, alike: Sequence[str]) -> int:
        """Clock cycles of the cases: what proofs of them take, roughly."""
        return sum(self.digests[folder].cycles for folder in self._shortest(alike))

    def _shortest(self, alike: Sequence[str]) -> list[str]:
        """Of the cases that a fault leaves as they were, one per unit: those that come first are the shortest."""
        chosen = {self.digests[folder].unit: folder for folder in reversed(alike)}
        return [folder for folder in alike if folder in chosen.values()]

    def _task(self, mutant: Mutant, kind: str, cases: Sequence[str]) -> dict[str, Any]:
        place = {"root": str(self.root), "path": mutant.path, "number": mutant.number}
        return place | {"kind": kind, "cases": list(cases)}

    def _folders(self, mutant: Mutant) -> list[str]:
        return [str(case.folder) for case in self.cases[mutant.path]]

    def _judged(self, mutant: Mutant, answer: Mapping[str, Any]) -> Verdict:
        case = self.digests.get(answer["case"])
        hardware = mutant.path.startswith("rtl/")
        if answer["killed"]:
            status, how = KILLED, answer["how"]
        elif not answer["reached"]:
            status, how = SURVIVED, "unreached"
        elif hardware and not answer["alike"]:
            status, how = EQUIVALENT, "same netlist"
        elif hardware and answer["proven"]:
            status, how = EQUIVALENT, "proven"
        else:
            status, how = SURVIVED, "unseen"
        return Verdict(
            key=mutant.key,
            path=mutant.path,
            line=mutant.line,
            change=mutant.change,
            status=status,
            how=how,
            text=answer["text"],
            case=case.name if case else "",
            digest=case.digest if case else self._all_digests(mutant),
            seconds=answer["seconds"],
        )

    def _all_digests(self, mutant: Mutant) -> str:
        text = "".join(case.digest for case in self.cases[mutant.path])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _keep(self, verdict: Verdict) -> Verdict:
        with self.kept.open("a") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")
        return verdict

    def _earlier(self, planted: Mapping[str, Mutant]) -> dict[str, Verdict]:
        """Verdicts of an earlier run whose file, fault and cases are what they were."""
        if not self.kept.exists():
            return {}
        found = {}
        for line in self.kept.read_text().splitlines():
            verdict = Verdict(**json.loads(line))
            mutant = planted.get(verdict.key)
            if mutant is None:
                continue
            now = self.known.get(verdict.case) if verdict.case else self._all_digests(mutant)
            if now == verdict.digest:
                found[verdict.key] = replace(verdict, line=mutant.line)
        return found
