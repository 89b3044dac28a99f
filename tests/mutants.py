"""Second oracle of the mutation run of `sim`: a file's tests, against each fault that no case of a sweep found.

    python tests/mutants.py OUT [FILE ...]

OUT has the `mutants.jsonl` of `vitrtl verify --mutate`. Faults of files that no unit imports (cycles of layers, memory
traffic) are judged here alone. Verdicts are kept in OUT/tests.jsonl; OUT/sim.md gets the tables of the documentation.

The kernels run as Python, as in the first oracle, and in a process of their own per fault. Left out is every test that
fails that way without a fault, such as those that change a kernel's text, or takes the processor over `SLOW` seconds.
What survives in a file of `COMPILED` is judged once more with numba, which compiles all kernels anew for each fault
in a file that has some.
"""

import hashlib
import json
import os
import signal
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SLOW = 0.5
SLOW_COMPILED = 30.0
COMPILED = ("sim/digits.py", "sim/log2_products.py", "sim/network.py", "sim/products.py", "sim/vectors.py")
"""Files with faults that Python does not show: vector instructions, what lies around an array, whole networks."""
HEAVY = ("numba", "torch", "hypothesis.strategies", "amaranth.hdl", "pytest")
"""Imported before the forks; nothing of `sim`, which a child imports with its fault."""
KNOWN = Path(__file__).with_suffix(".toml")
"""Survivors that were looked at: file, part of the line, ends of the changes, equivalent or speed only, and why."""
COLUMNS = (
    "planted", "killed by sweeps", "killed by tests", "equivalent", "speed only", "survivors", "not judged",
)  # fmt: skip

UNIT, OVERFLOW = "tests/units/test_{}.py", "tests/units/overflow/test_{}.py"
ENCODERS = ("log2_encoder", "threshold_encoder", "two_scale_encoder", "sign_scale_encoder")
TESTS: dict[str, tuple[str, ...]] = {
    "sim/accelerator.py": ("tests/test_schedule.py", "tests/test_traffic.py"),
    "sim/accumulation.py": (
        "tests/test_accumulation.py", OVERFLOW.format("mac"), OVERFLOW.format("log2_mac"), UNIT.format("outlier_mac"),
    ),
    "sim/checks.py": ("tests/test_checks.py",),
    "sim/decoded_mac.py": ("tests/test_decoded_mac.py", UNIT.format("two_scale_mac"), UNIT.format("table_mac")),
    "sim/digits.py": ("tests/test_products.py",),
    "sim/encoder.py": tuple(UNIT.format(name) for name in ENCODERS),
    "sim/kernel_cache.py": ("tests/test_kernel_cache.py",),
    "sim/log2_products.py": (UNIT.format("log2_mac"), OVERFLOW.format("log2_mac")),
    "sim/log_domain.py": ("tests/test_power_tables.py", UNIT.format("probability")),
    "sim/log_domain_rows.py": (
        "tests/test_log_domain_spec.py", "tests/test_power_tables.py", "tests/test_softmax_bounds.py",
        UNIT.format("softmax"), UNIT.format("probability"),
    ),
    "sim/log_domain_spec.py": ("tests/test_log_domain_spec.py",),
    "sim/matrix.py": ("tests/test_schedule.py",),
    "sim/movement.py": ("tests/test_movement.py",),
    "sim/network.py": ("tests/test_network.py", "tests/test_tensor_types.py"),
    "sim/outliers.py": (UNIT.format("outlier_list"), UNIT.format("token_encoder")),
    "sim/products.py": ("tests/test_products.py", "tests/test_products_torch.py", UNIT.format("mac")),
    "sim/products_torch.py": ("tests/test_products_torch.py", "tests/test_products.py"),
    "sim/registry.py": ("tests/test_schedule.py", "tests/test_network.py"),
    "sim/schedule.py": ("tests/test_schedule.py", "tests/test_traffic.py"),
    "sim/tiling.py": (UNIT.format("systolic_array"),),
    "sim/traffic.py": ("tests/test_traffic.py",),
    "sim/unit.py": ("tests/test_registry.py",),
    "sim/units/log2_mac.py": (UNIT.format("log2_mac"), OVERFLOW.format("log2_mac")),
    "sim/units/mac.py": (UNIT.format("mac"), OVERFLOW.format("mac")),
    "sim/units/softmax.py": (UNIT.format("softmax"), "tests/test_softmax_bounds.py", "tests/test_power_tables.py"),
    "sim/vectors.py": ("tests/test_vectors.py",),
}  # fmt: skip
"""Tests of each file that is no unit's own, those that find most first; before a unit's come its limits."""
LIMITS = "tests/test_limits.py"


def tests_of(path: str) -> list[str]:
    """Test files that judge `path`."""
    own = TESTS.get(path) or (UNIT.format(Path(path).stem),)
    limits = (LIMITS,) if "/units/" in path else ()
    return [name for name in (*limits, *own) if (ROOT / name).exists()]


class Late(BaseException):  # an Exception would make hypothesis look for a shorter example
    """A test takes too long."""


def _late(number: int, frame: Any) -> None:
    raise Late


@dataclass(eq=False)  # pytest hashes its plugins
class Record:
    """What pytest saw, as a plugin."""

    fast: dict[str, float] = field(default_factory=dict)
    """Tests to run, and what each took without a fault: the shortest first; empty: all."""
    failed: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """What each took, the processor's."""
    slow: float = SLOW
    """What a test without a fault takes at most; with one, twice as much."""
    began: float = 0.0

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.fast:
            items[:] = sorted((i for i in items if i.nodeid in self.fast), key=lambda i: self.fast[i.nodeid])

    def pytest_runtest_setup(self) -> None:
        signal.signal(signal.SIGPROF, _late)
        signal.setitimer(signal.ITIMER_PROF, 2 * self.slow)
        self.began = process_time()

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = process_time() - self.began
        if report.failed:
            self.failed.append(report.nodeid)


def in_child(work: Any, limit: int) -> dict[str, Any]:
    """Answer of `work()` from a fork; empty where it took more than `limit` seconds or crashed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        signal.alarm(limit)
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return dict(json.loads(text)) if text else {}


def compile_kernels(anew: bool) -> None:
    """Lets numba compile them, where `anew` whatever is on disk."""
    import numba

    numba.config.DISABLE_JIT = 0
    if anew:
        numba.config.CACHE_DIR = tempfile.mkdtemp(dir=os.environ["TMPDIR"])


def run_tests(files: Sequence[str], fast: dict[str, float], compiled: bool, *more: str) -> Record:
    """Runs pytest with no more of it than the tests need: this is done for every fault."""
    import pytest

    record = Record(fast=fast, slow=SLOW_COMPILED if compiled else SLOW)
    plugins = ("no:cacheprovider", "no:unraisableexception", "_hypothesis_pytestplugin")
    chosen = ["-m", "not cosim and not synth and not slow and not data", "--hypothesis-seed=0"]
    options = ["-q", "--assert=plain", *chosen, *(f"-p{name}" for name in plugins), *more]
    code = pytest.main([*options, *(str(ROOT / name) for name in files)], plugins=[record])
    if code not in (0, 1):
        record.failed.append(f"pytest ended with {code}")
    return record


def fast_tests(files: Sequence[str], unit: str, kept: Path, compiled: bool) -> dict[str, float]:
    """Tests that pass and are fast without a fault; of the limits none of a unit but `unit`."""
    file = kept / f"{digest_of(files, compiled)}.json"
    if not file.exists():

        def work() -> dict[str, Any]:
            if compiled:
                compile_kernels(anew=False)
            return vars(run_tests(files, {}, compiled))

        found = in_child(work, 900)
        passed = found["seconds"].keys() - set(found["failed"])
        file.write_text(json.dumps({name: found["seconds"][name] for name in sorted(passed)}))
    known, slow = json.loads(file.read_text()), SLOW_COMPILED if compiled else SLOW
    others = [f"[{path.stem}-" for path in (ROOT / "sim/units").glob("*.py") if path.stem != unit]
    chosen = {
        name: s
        for name, s in known.items()
        if s <= slow and (LIMITS not in name or not any(other in name for other in others))
    }
    if not chosen:
        raise RuntimeError(f"no test ran of {', '.join(files)}")
    return chosen


def digest_of(files: Sequence[str], compiled: bool) -> str:
    """Hash of the files' texts and of how their kernels run."""
    text = "".join((ROOT / name).read_text() for name in files) + "compiled" * compiled
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def judged(
    path: str, number: int, files: Sequence[str], fast: dict[str, float], compiled: bool
) -> dict[str, Any]:
    """What the tests say of one fault, up to the first that fails."""
    from reports.mutation.loading import plant

    def work() -> dict[str, Any]:
        finder = plant(ROOT, path, number, marked=not compiled)
        if compiled:
            compile_kernels(anew="numba" in (ROOT / path).read_text())
        record = run_tests(files, fast, compiled, "-x")
        return {"failed": record.failed[:1], "reached": compiled or finder.reached}

    return in_child(work, 240) or {"failed": ["the tests did not end"], "reached": True}


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Objects of a file of JSON lines; none where it is missing."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def run(out: Path, paths: Sequence[str], compiled: bool) -> None:
    """Judges what the first oracle, or tests before, left of `paths`."""
    from reports.mutation.operators import mutants

    by_cases = {line["key"] for line in lines_of(out / "mutants.jsonl") if line["status"] == "killed"}
    earlier = lines_of(out / "tests.jsonl")
    for path in paths:
        files = tests_of(path)
        digest = digest_of(files, compiled)
        decided = {line["key"] for line in earlier if line["killed"] or line["tests"] == digest}
        left = [mutant for mutant in mutants(ROOT, path) if mutant.key not in by_cases | decided]
        unit = Path(path).stem if "units" in path else ""
        fast = fast_tests(files, unit, out, compiled) if left and files else {}
        for mutant in left if files else []:
            seen = judged(path, mutant.number, files, fast, compiled)
            line = {
                "key": mutant.key, "tests": digest, "killed": bool(seen["failed"]), "by": "".join(seen["failed"]),
                "where": f"{path}:{mutant.line}  {mutant.change}", "reached": seen["reached"],
            }  # fmt: skip
            with (out / "tests.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            print("killed  " if line["killed"] else "survived", line["where"], line["by"], flush=True)


def table(out: Path, paths: Sequence[str]) -> str:
    """What became of every fault of `paths`: counts by file, then what is left, with its line and why."""
    from reports.mutation.operators import mutants

    by_cases = {line["key"] for line in lines_of(out / "mutants.jsonl") if line["status"] == "killed"}
    judged = {line["key"] for line in lines_of(out / "mutants.jsonl")}
    by_tests = {line["key"]: line["killed"] for line in lines_of(out / "tests.jsonl")}
    reasons = tomllib.loads(KNOWN.read_text())["left"]
    rows, left, totals = [], [], dict.fromkeys(COLUMNS, 0)
    for path in paths:
        text = (ROOT / path).read_text().splitlines()
        counts = dict.fromkeys(COLUMNS, 0)
        for mutant in mutants(ROOT, path):
            counts["planted"] += 1
            if mutant.key in by_cases or by_tests.get(mutant.key):
                counts["killed by sweeps" if mutant.key in by_cases else "killed by tests"] += 1
                continue
            if mutant.key not in judged and mutant.key not in by_tests:
                counts["not judged"] += 1
                continue
            code = text[mutant.line - 1].strip()
            found = [
                one for one in reasons
                if path.startswith(one["file"]) and one["line"] in code
                and mutant.change.endswith(tuple(one["changes"]))
            ]  # fmt: skip
            kind, why = (found[0]["kind"], found[0]["why"]) if found else ("survivors", "not explained")
            counts[kind] += 1
            left.append(
                f"| `{path.removeprefix('sim/')}:{mutant.line}` | `{mutant.change}` | {kind} | {why} |"
            )
        if counts["planted"]:
            rows.append((path, counts))
            totals = {name: totals[name] + counts[name] for name in COLUMNS}
    lines = [f"| file | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
    lines += [
        f"| {path} | {' | '.join(str(n) for n in counts.values())} |"
        for path, counts in [*rows, ("all", totals)]
    ]
    return "\n".join([*lines, "", "| where | change | kind | why |", "|---|---|---|---|", *left]) + "\n"


def main(out: Path, paths: Sequence[str]) -> None:
    """Judges the faults of `paths`, by default all files of sim, and writes the tables."""
    os.environ |= {"NUMBA_DISABLE_JIT": "1", "VITRTL_PRODUCTS": "kernels"}  # as in the first oracle
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for name in HEAVY:
        import_module(name)
    every = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "sim").rglob("*.py"))]
    run(out, paths or every, compiled=False)
    with tempfile.TemporaryDirectory(prefix="vitrtl-mutants-") as scratch:
        os.environ["TMPDIR"] = scratch
        run(out, [path for path in paths or every if path in COMPILED], compiled=True)
    (out / "sim.md").write_text(table(out, every))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
