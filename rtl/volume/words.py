"""Payloads as arrays of 32-bit words, the form in which they cross into C++, of any width."""

import numpy as np
from numpy.typing import NDArray

from rtl.volume.library import payload_words
from sim.unit import Beats, Port

Words = NDArray[np.uint32]
"""uint32[beats, words], the least significant word first."""


def words_of(beats: Beats, port: Port) -> Words:
    """Each beat's payload: lane 0 lowest, two's complement, `last` on top."""
    words = np.zeros((len(beats.last), payload_words(port)), np.uint32)
    bits = port.format.bits
    for lane in range(port.lanes):
        _put(words, bits * lane, bits, beats.codes[:, lane].astype(np.uint64))
    if port.last:
        _put(words, bits * port.lanes, 1, beats.last.astype(np.uint64))
    return words


def payload(words: Words) -> int:
    """One beat's words as one integer."""
    return int.from_bytes(words.astype("<u4").tobytes(), "little")


def _put(words: Words, place: int, bits: int, codes: NDArray[np.uint64]) -> None:
    """Sets `bits` bits from bit `place` on to the lowest ones of `codes`, word by word."""
    while bits:
        word, shift = divmod(place, 32)
        part = min(bits, 32 - shift)
        words[:, word] |= ((codes & np.uint64((1 << part) - 1)) << np.uint64(shift)).astype(np.uint32)
        codes = codes >> np.uint64(part)
        place, bits = place + part, bits - part
