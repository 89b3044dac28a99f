"""Outlier MAC in reports: sweep over value, weight and narrow accumulator widths; random, extreme and empty words."""

from collections.abc import Mapping

import numpy as np

from golden.formats import Integer
from reports.dot_product import OVERFLOWING, dot_product_stimuli, dot_product_volume, overflow_suffix
from reports.registry import reference_parameters
from reports.stimuli import column, ends, uniform
from sim.unit import Beats
from sim.units.outlier_mac import OutlierMac

SWEEP = [
    OutlierMac(
        value_bits=value_bits,
        index_bits=index_bits,
        w_format=Integer(bits=w_bits, signed=True),
        acc_bits=value_bits + w_bits + 6,
    )
    for value_bits, index_bits, w_bits in ((17, 8, 4), (17, 8, 8), (9, 12, 6))
] + [
    # Five of the largest products, up to 256 · 32 each, leave ±2^15.
    OutlierMac(
        value_bits=9,
        index_bits=8,
        w_format=Integer(bits=6, signed=True),
        acc_bits=16,
        overflow=overflow,
    )
    for overflow in OVERFLOWING
]


def label(spec: OutlierMac) -> str:
    """Such as `s17-i8-x-s4`: value and index of a word, weight; `-wrap16` where sums may overflow."""
    return f"{spec.value_format}-i{spec.index_bits}-x-{spec.w_format}{overflow_suffix(spec)}"


def stimuli(spec: OutlierMac, rng: np.random.Generator) -> dict[str, Beats]:
    """Rows of random and extreme words, and unfilled places; biases that take some sums to the limits.

    Each index occurs once in a list, as each channel does in a row, but for the index 0 of unfilled places.
    """
    value = spec.value_format
    parts = dot_product_stimuli(spec.mac, value, ends(value), lambda codes: codes, rng)
    values, last = parts["a"].codes[:, 0], parts["a"].last
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    lengths = np.diff([*starts, last.size])
    index = np.concatenate([rng.permutation(1 << spec.index_bits)[:length] for length in lengths])
    words = (index << spec.value_bits) | (values & ((1 << spec.value_bits) - 1))
    # A list of two words and two unfilled places, then an empty one; unfilled places all fetch weight 0.
    few = [1 << spec.value_bits | 5, 2 << spec.value_bits | spec.value_format.max_code, *[0] * 6]
    weights = uniform(spec.w_format, rng, 4)[[0, 1, 2, 2, 3, 3, 3, 3]]
    closing = np.arange(1, 9) % 4 == 0
    return {
        "a": Beats(np.concatenate((words, few))[:, None], np.concatenate((last, closing))),
        "w": column(np.concatenate((parts["w"].codes[:, 0], weights))),
        "bias": column(np.concatenate((parts["bias"].codes[:, 0], [-1, 7]))),
    }


def volume(spec: OutlierMac, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` words in lists of 1 to 64, each of indices of its own; lists of zeros among them."""
    value = spec.value_format
    parts = dot_product_volume(spec.mac, value, [*ends(value), 0], lambda codes: codes, rng, count)
    values, last = parts["a"].codes[:, 0], parts["a"].last
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    lengths = np.diff([*starts, last.size])
    places = np.arange(last.size) - np.repeat(starts, lengths)
    # Distinct within a list: an odd stride from a random begin, over the indices.
    begin, stride = rng.integers(0, 1 << spec.index_bits, (2, starts.size))
    row = np.repeat(np.arange(starts.size), lengths)
    index = (begin[row] + places * (2 * stride[row] + 1)) & ((1 << spec.index_bits) - 1)
    words = (index << spec.value_bits) | (values & ((1 << spec.value_bits) - 1))
    return parts | {"a": Beats(words[:, None], last)}


def reference(spec: OutlierMac, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Accumulators by golden's reference, list by list, each with weights that hold the fetched ones."""
    import torch

    from golden.units.outlier_mac import golden

    parameters = reference_parameters(golden, spec)
    cuts = np.flatnonzero(inputs["a"].last)[:-1] + 1
    a, w = (np.split(inputs[name].codes[:, 0], cuts) for name in ("a", "w"))
    bias = torch.from_numpy(inputs["bias"].codes)
    acc = []
    for n, (words, fetched) in enumerate(zip(a, w, strict=True)):
        weights = torch.zeros(1, 1 << spec.index_bits, dtype=torch.int64)
        weights[0, words >> spec.value_bits] = torch.from_numpy(fetched)
        acc.append(golden(torch.from_numpy(words)[None], weights, bias[n], **parameters).item())
    return {"o": column(np.array(acc))}
