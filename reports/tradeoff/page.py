"""report.html of a sweep."""

from collections.abc import Mapping
from pathlib import Path

from reports.results import Results


def write_page(results: Results, failures: Mapping[str, str], path: Path) -> Path:
    """Writes the page."""
    return path
