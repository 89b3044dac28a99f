"""Faults around the kernels of accumulators that overflow, to be put in the place of `settled`."""

from dataclasses import replace
from typing import Any

from golden.formats import Integer
from sim.accumulation import settled


def unlimited(sums: Any, format: Integer, overflow: str) -> Any:
    return sums


def one_bit_more(sums: Any, format: Integer, overflow: str) -> Any:
    return settled(sums, replace(format, bits=format.bits + 1), overflow)


def one_bit_less(sums: Any, format: Integer, overflow: str) -> Any:
    return settled(sums, replace(format, bits=format.bits - 1), overflow)
