"""Dot products with one operand in log2 codes: a shift instead of a multiplication, two accumulators for base √2."""

import torch
from torch import Tensor

from golden.accumulate import Terms, accumulate, limit, magnitude
from golden.errors import InvariantError
from golden.formats import Integer, Log2
from golden.integers import round_shift

SQRT2_Q15 = 46341
"""√2 · 2^15 = 46340.95, rounded to nearest: joins the accumulator of odd codes to that of even codes."""


def golden(
    a: Tensor,
    w: Tensor,
    *,
    code_bits: int,
    steps_per_octave: int,
    frac_bits: int,
    w_zero_point: int,
    acc_bits: int,
    overflow: str = "none",
) -> Tensor:
    """Accumulators int64[.., M, N] with `frac_bits` fraction bits of codes `a` [.., M, K] and integers `w` [.., K, N].

    `overflow` is what happens to a sum wider than acc_bits, in either accumulator or where they join: `none`
    (raises), `wrap` or `saturate`.
    """
    pair = terms(
        a,
        w,
        code_bits=code_bits,
        steps_per_octave=steps_per_octave,
        frac_bits=frac_bits,
        w_zero_point=w_zero_point,
    )
    what = "log2_mac accumulator"
    even, odd = (accumulate(t, None, acc_bits=acc_bits, overflow=overflow, what=what) for t in pair)
    return limit(join(even, odd), Integer(bits=acc_bits, signed=True), overflow, what)


def join(even: Tensor, odd: Tensor) -> Tensor:
    """What the accumulators of even and odd codes come to together."""
    if (magnitude(odd) * SQRT2_Q15).bit_length() > 62:
        raise InvariantError(f"the odd accumulator's {magnitude(odd)} times √2 is not exact in int64")
    return even + round_shift(odd * SQRT2_Q15, 15)


def terms(
    a: Tensor, w: Tensor, *, code_bits: int, steps_per_octave: int, frac_bits: int, w_zero_point: int
) -> tuple[Terms, Terms]:
    """Those of even codes and those of odd codes, each 0 where the code is of the other kind.

    The top code contributes nothing. All at once: for every code that occurs, shift all of w by what the code means
    (FLOOR), then sum over the places where the code stands.
    """
    log2, centred = Log2(bits=code_bits, steps_per_octave=steps_per_octave), w - w_zero_point
    largest = magnitude(centred) << frac_bits
    if largest.bit_length() > 62:
        raise InvariantError(f"{magnitude(centred)} with {frac_bits} fraction bits is not exact in int64")
    shifted = centred << frac_bits
    shifts = torch.tensor([min(log2.shift(code), 62) for code in range(1 << code_bits)])

    def of(codes: set[int]) -> Terms:
        counts = torch.tensor([code in codes for code in range(1 << code_bits)])

        def term(k: int) -> Tensor:
            code = a[..., k].unsqueeze(-1)
            return torch.where(counts[code], shifted[..., k, :].unsqueeze(-2) >> shifts[code], 0)

        def total() -> Tensor:
            found = torch.zeros(*a.shape[:-1], w.shape[-1], dtype=torch.int64)
            for code in sorted(codes & set(a.flatten().tolist())):
                found = found + (a == code).to(torch.int64) @ (shifted >> int(shifts[code]))
            return found

        return Terms(count=a.shape[-1], term=term, total=total, largest=largest)

    odd = {code for code in range(log2.zero_code) if log2.is_odd(code)}
    return of(set(range(log2.zero_code)) - odd), of(odd)
