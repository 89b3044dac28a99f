"""Finds the formats: one file in golden/codecs per format, holding one SiteFormat and its codec."""

import pkgutil
from functools import cache
from importlib import import_module

from golden import codecs
from golden.codecs.base import SiteFormat

_SUPPORT = ("base", "registry")


@cache
def site_formats() -> dict[str, type[SiteFormat]]:
    """Name of a format in a scheme -> its class."""
    found: dict[str, type[SiteFormat]] = {}
    for module in pkgutil.iter_modules(codecs.__path__):
        if module.name not in _SUPPORT:
            loaded = import_module(f"{codecs.__name__}.{module.name}")
            for entry in vars(loaded).values():
                if isinstance(entry, type) and issubclass(entry, SiteFormat) and entry is not SiteFormat:
                    found[module.name] = entry
    return found
