"""The house rule: one name, one file in each folder; references take the spec's parameters."""

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from golden.errors import UserError
from reports.registry import FOLDERS, Entry, class_name, entry, names_in, reference_parameters, unit_names
from rtl.stream import StreamUnit
from sim.unit import Unit

TESTS = Path(__file__).parent / "units"


def missing(names: dict[str, set[str]]) -> list[str]:
    """`folder lacks name`, for every name that another folder has."""
    every = set().union(*names.values())
    return sorted(f"{folder} lacks {name}" for folder, found in names.items() for name in every - found)


def test_every_folder_has_every_unit() -> None:
    names = {folder: names_in(folder) for folder in FOLDERS}
    names["tests/units"] = {path.stem.removeprefix("test_") for path in TESTS.glob("test_*.py")}
    assert missing(names) == []
    assert {"mac", "softmax", "layernorm"} < set(unit_names())


def test_a_missing_file_is_named() -> None:
    assert missing({"sim.units": {"mac", "gelu"}, "rtl.units": {"mac"}}) == ["rtl.units lacks gelu"]


@pytest.mark.parametrize("name", unit_names())
def test_entry_gives_all_parts(name: str) -> None:
    unit = entry(name)
    assert issubclass(unit.model, Unit)
    assert issubclass(unit.component, StreamUnit)
    assert unit.component.__name__ == unit.model.__name__ == class_name(name)
    assert callable(unit.golden)
    labels = [unit.report.label(spec) for spec in unit.report.SWEEP]
    assert labels
    assert all(isinstance(spec, unit.model) for spec in unit.report.SWEEP)
    assert len(set(labels)) == len(labels)


def differences(unit: Entry) -> set[str]:
    """Keyword-only parameters of the reference that are no field, and fields that are no parameter.

    Formats of ports (`<port>_format`) are hardware's alone: a reference takes tensors of any width.
    """
    parameters = inspect.signature(unit.golden).parameters.values()
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    return named ^ {field.name for field in fields(unit.model) if not field.name.endswith("_format")}


@pytest.mark.parametrize("name", unit_names())
def test_reference_takes_the_fields_of_the_spec(name: str) -> None:
    assert differences(entry(name)) == set()


def test_reference_parameters_are_the_specs_values() -> None:
    unit = entry("softmax")
    spec = unit.report.SWEEP[0]
    parameters = reference_parameters(unit.golden, spec)
    assert parameters["exp_base"] == list(spec.exp_base)
    assert parameters["code_bits"] == spec.code_bits


def test_unknown_unit_is_a_users_mistake_that_names_the_units() -> None:
    with pytest.raises(UserError, match="there is no unit 'sofmax'; the units are gelu, layernorm"):
        entry("sofmax")
