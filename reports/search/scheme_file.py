"""A scheme as a TOML file that `load_scheme` reads back as the same scheme."""

import json
from collections.abc import Mapping
from typing import Any

from golden.errors import InvariantError
from golden.scheme import Scheme

_DEFAULT = ("layers", "calibration", "sites", "reconstruction")
"""Parts with tables of their own."""


def scheme_text(scheme: Scheme, *comments: str) -> str:
    """TOML of `scheme` under `comments`, one line each."""
    whole = scheme.model_dump(mode="json", exclude_none=True)
    lines = [f"# {comment}" for comment in comments]
    lines += [f"{key} = {_value(value)}" for key, value in whole.items() if key not in _DEFAULT]
    for table in ("calibration", "sites", "reconstruction"):
        if table in whole:
            lines += ["", f"[{table}]", *(f"{key} = {_value(value)}" for key, value in whole[table].items())]
    for rule in whole["layers"]:
        lines += [
            "",
            "[[layers]]",
            *(f"{key} = {_value(value)}" for key, value in rule.items() if value != {}),
        ]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """A TOML value: JSON writes strings, numbers, booleans and lists alike, objects become inline tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    if not isinstance(value, str | int | float):
        raise InvariantError(f"a scheme holds {value!r}, which TOML cannot")
    return json.dumps(value, ensure_ascii=False)
