"""Kernels of sim beside apytypes, the fastest of the fixed-point libraries for Python, at DeiT-Tiny's sizes.

apytypes gets its operands ready made and hands over its own arrays, so no conversion is timed. Where it lacks a step,
the step's result is among its operands and its time in sim's figure only. sim gets its operands as the executor hands
them on: constants prepared, tensors in the narrowest of its types that holds their format.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from golden.softmax_tables import softmax_tables
from sim.unit import Codes
from sim.units.mac import Mac
from sim.units.requantizer import MULTIPLIER, Requantizer
from sim.units.softmax import Softmax

TOKENS, CHANNELS, HIDDEN, HEADS = 197, 192, 768, 3
"""Of DeiT-Tiny: fc1 of an MLP is [197, 192] x [192, 768], the softmax of a block 3 · 197 rows of 197 scores."""
SEED = 0
CODE_BITS = 20
"""Of a requantised code, signed: what GELU takes in an 8-bit program."""
SHIFT = 18
EXP_BITS, LOG_FRAC_BITS, SCORE_FRAC_BITS = 18, 12, 9
INSTALL = 'apytypes is not installed, so no kernel was compared: pip install "vitrtl[bench]"'


class Kernel(NamedTuple):
    """The same integers by two implementations."""

    name: str
    operations: int | None
    """Multiply-accumulates."""
    sim: Callable[[], Codes]
    apytypes: Callable[[], Any]
    """Gives an APyFixedArray."""

    def compare(self) -> int:
        """Integers that both give alike; InvariantError where any differs."""
        ours, theirs = self.sim(), self.apytypes().to_numpy()
        if ours.shape != theirs.shape:
            raise InvariantError(f"kernel {self.name}: sim gives shape {ours.shape}, apytypes {theirs.shape}")
        differing = int((ours != theirs).sum())
        if differing:
            raise InvariantError(
                f"kernel {self.name}: {differing:,} of {ours.size:,} integers of sim are not those of apytypes"
            )
        return int(ours.size)


def available() -> bool:
    """Whether apytypes is installed."""
    return find_spec("apytypes") is not None


def kernels(bits: Sequence[int]) -> Iterator[Kernel]:
    """The kernels at each of `bits`; needs apytypes, which is then set to one thread."""
    import apytypes

    apytypes.reset_thread_pool(1)
    for width in bits:
        yield from _fc1(apytypes, width)
        yield _softmax(apytypes, width)


def _fixed(library: ModuleType, values: NDArray[Any], format: Integer, frac_bits: int = 0) -> Any:
    """`values` · 2^-frac_bits as an array of the library, one bit wider where the format has no sign."""
    real = np.ascontiguousarray(values, dtype=np.float64) / (1 << frac_bits)
    return library.APyFixedArray.from_array(real, bits=format.bits + (not format.signed), frac_bits=frac_bits)


def _fc1(library: ModuleType, bits: int) -> Iterator[Kernel]:
    """fc1's product, and the product with the requantisation to GELU's input that follows.

    Weights are codes less a zero point per channel, as lowering leaves them, so a W8 weight may take nine bits.
    Multipliers and offsets are per channel; the shift is one for all, as an array of apytypes has one format.
    """
    rng = np.random.default_rng(SEED)
    zero_points = rng.integers((3 << bits) // 8, (5 << bits) // 8, (HIDDEN, 1), endpoint=True)
    a = rng.integers(0, 1 << bits, (TOKENS, CHANNELS))
    w = rng.integers(0, 1 << bits, (HIDDEN, CHANNELS)) - zero_points
    multiplier = rng.integers(1 << 16, MULTIPLIER.max_code, HIDDEN, endpoint=True)
    offset = rng.integers(-(1 << 30), 1 << 30, HIDDEN)
    a_format, w_format = Integer(bits=bits, signed=False), Integer(bits=bits + 1, signed=True)
    offset_format = Integer(bits=31, signed=True)
    mac = Mac(a_format=a_format, w_format=w_format, a_zero_point=0, w_zero_point=0, acc_bits=2 * bits + 9)
    requantizer = Requantizer(
        acc_format=mac.acc_format, offset_format=offset_format, out_bits=CODE_BITS, out_signed=True
    )
    ready = mac.prepare("w", w)
    constants = {"multiplier": multiplier, "offset": offset, "shift": np.array([SHIFT])}
    prepared: dict[str, Any] = {name: requantizer.prepare(name, value) for name, value in constants.items()}
    codes: NDArray[Any] = a.astype(np.int16)
    their_a, their_w = _fixed(library, a, a_format), _fixed(library, w.T, w_format)
    their_multiplier = _fixed(library, multiplier, MULTIPLIER)
    their_offset = _fixed(library, offset, offset_format)
    floor, saturate = library.QuantizationMode.TO_NEG, library.OverflowMode.SAT

    def product() -> Codes:
        return mac.compute(a=codes, w=ready, kind=np.int32)

    def requantised() -> Codes:
        return requantizer.compute(acc=product(), **prepared, kind=np.int32)

    def their_requantised() -> Any:
        sums = (their_a @ their_w * their_multiplier + their_offset) >> SHIFT
        return sums.cast(bits=CODE_BITS, frac_bits=0, quantization=floor, overflow=saturate)

    operations = TOKENS * CHANNELS * HIDDEN
    yield Kernel(f"fc1 W{bits}", operations, product, lambda: their_a @ their_w)
    yield Kernel(f"fc1 requantized W{bits}", operations, requantised, their_requantised)


def _softmax(library: ModuleType, bits: int) -> Kernel:
    """A block's softmax to log√2 codes.

    apytypes computes what it has operations for: row maximum, differences, the interpolated powers of two with
    their shift as a product, their sum, the subtraction of logarithms, rounding and saturation. The look-ups in both
    tables, 2^-shift and log2 of the sum are given to it.
    """
    spec = Softmax(
        score_bits=18,
        score_frac_bits=SCORE_FRAC_BITS,
        max_length=TOKENS,
        exp_bits=EXP_BITS,
        log_frac_bits=LOG_FRAC_BITS,
        code_bits=bits,
        steps_per_octave=2,
        log2_scale=0,
        lanes=1,
        **softmax_tables(EXP_BITS, LOG_FRAC_BITS),
    )
    rows = HEADS * TOKENS
    # A standard deviation of two octaves gives every code of four bits.
    scores = np.rint(np.random.default_rng(SEED).normal(0, 2 << SCORE_FRAC_BITS, (rows, TOKENS))).astype(
        np.int64
    )
    d = scores.max(axis=1, keepdims=True) - scores
    fraction = d & ((1 << SCORE_FRAC_BITS) - 1)
    segment, low = fraction >> spec.exp_segment_shift, fraction & ((1 << spec.exp_segment_shift) - 1)
    bases, slopes = np.array(spec.exp_base)[segment], np.array(spec.exp_slope)[segment]
    # A power of two has at most EXP_BITS + 1 bits: shifted by one more, nothing is left of it.
    gone = EXP_BITS + 2
    q = np.minimum(d >> SCORE_FRAC_BITS, gone)
    theirs = _fixed(library, scores, spec.score_format, SCORE_FRAC_BITS)
    base = _fixed(library, bases, Integer(bits=EXP_BITS + 1, signed=False))
    slope = _fixed(library, slopes, Integer(bits=EXP_BITS, signed=False))
    low_bits = _fixed(library, low, Integer(bits=SCORE_FRAC_BITS, signed=False))
    shifts = _fixed(library, 1 << (gone - q), Integer(bits=gone + 1, signed=False), gone)
    levels = _fixed(library, spec.levels(scores)[:, None], spec.level_format, LOG_FRAC_BITS)
    floor, half_up = library.QuantizationMode.TO_NEG, library.QuantizationMode.TIES_POS
    wrap, saturate = library.OverflowMode.WRAP, library.OverflowMode.SAT

    def their_sums() -> Any:
        powers = (base - slope * low_bits) * shifts
        return powers.cast(bits=EXP_BITS + 2, frac_bits=0, quantization=floor, overflow=wrap).sum(1)

    def their_codes() -> Any:
        their_sums()  # what log2 would be taken of
        octaves = (theirs.max(1).reshape((rows, 1)) - theirs + levels) << 1
        return octaves.cast(bits=bits + 1, frac_bits=0, quantization=half_up, overflow=saturate)

    if not np.array_equal(their_sums().to_numpy(), ((bases - slopes * low) >> q).sum(axis=1)):
        raise InvariantError(f"kernel softmax A{bits}: apytypes' sums of powers are not those of the tables")
    narrow: NDArray[Any] = scores.astype(np.int32)
    return Kernel(f"softmax A{bits}", None, lambda: spec.compute(narrow, kind=np.int16), their_codes)
