"""A sentence of a report on a page: its figures stand out, and the names of its designs lead to them."""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from reports.results import Results

if TYPE_CHECKING:
    from markupsafe import Markup

_FIGURE = re.compile(
    r"(?<![\w./\[√-])(?P<figure>[+-]?\d++(?:,\d{3})*+(?:\.\d++)?+)(?![\w\]]|, \d)"
    r"(?P<unit> (?:%|LUT4?|DSP|NAND2|points?|cycles)(?!\w))?"
)
"""A number that is part of no name (`W4/A4`, `log2`) and no interval, with the unit behind it."""


def emphasise(text: str, results: Results) -> "Markup":
    """`text` as HTML: escaped, figures in bold, each design of `results` a link to `#design=RUN`."""
    from markupsafe import Markup, escape

    runs = sorted({design.run for design in results.tables.designs}, key=len, reverse=True)
    # One capture group: re.split returns the names themselves at the odd places.
    names = re.compile("(" + "|".join(map(re.escape, runs)) + ")") if runs else re.compile("(?!)()")
    made = Markup("")
    for place, piece in enumerate(names.split(text)):
        if place % 2:
            made += Markup('<a href="#design={}">{}</a>').format(quote(piece, safe=""), piece)
        else:
            made += Markup(_FIGURE.sub(_bold, str(escape(piece))))
    return made


def _bold(found: re.Match[str]) -> str:
    # A true minus, as everywhere on the pages.
    return f"<b>{found['figure'].replace('-', '−')}{found['unit'] or ''}</b>"
