"""References of per-token codes with outliers and of log2 codes: by hand, the page's definition in Python, refusals."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.units import log2_encoder, outlier_list, outlier_mac, token_encoder, token_scaler

MAX_IN_BITS = 12
Rows = list[list[int]]


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


def integers(draw: Callable[..., Any], low: int, high: int, *shape: int) -> Any:
    """Nested lists of `shape`."""
    if not shape:
        return draw(st.integers(low, high))
    return [integers(draw, low, high, *shape[1:]) for _ in range(shape[0])]


def listed(row: list[int], zero_point: int, threshold: int, capacity: int) -> list[tuple[int, int]]:
    """Channel and value of a row's outliers: the first `capacity` beyond the threshold."""
    found: list[tuple[int, int]] = []
    for channel, x in enumerate(row):
        if abs(x - zero_point) > threshold and len(found) < capacity:
            found.append((channel, x - zero_point))
    return found


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


# token_encoder

ENCODER = {"in_bits": 8, "in_zero_point": 100, "threshold": 50, "capacity": 2, "code_bits": 4}


def encoded(x: Any, per_token: dict[str, list[int]], **changes: int) -> Any:
    constants = {name: tensor(values) for name, values in per_token.items()}
    return token_encoder.golden(tensor(x), **constants, **(ENCODER | changes)).tolist()


def test_token_encoder_by_hand() -> None:
    # d = x − 100. Token 0: a quarter of d with zero point 7 and HALF_UP, as (d + 28 + 2) >> 2.
    # Token 1: three eighths of d with zero point 2, as (3 d + 16 + 4) >> 3. Values beyond ±50 are outliers.
    per_token = {"multiplier": [1, 3], "offset": [30, 20], "shift": [2, 3], "zero_code": [7, 2]}
    assert encoded(
        [
            # d = 0, ties 1.5 -> 2 and −1.5 -> −1, then 51 is an outlier, 50 saturates, −51 is the second one,
            # and with the list full 155 and −100 are ordinary and saturate.
            [100, 106, 94, 151, 150, 49, 255, 0],
            # d = 4 · 3/8 = 1.5 -> 2, −4 · 3/8 -> −1, −5 · 3/8 = −1.875 -> −2, −10 saturates, ±50 are no outliers.
            [104, 96, 95, 90, 50, 150, 100, 101],
        ],
        per_token,
    ) == [[7, 9, 6, 7, 15, 7, 15, 0], [4, 1, 0, 0, 0, 15, 2, 2]]


def test_token_encoder_counts_outliers_per_row() -> None:
    per_token = {"multiplier": [1, 1], "offset": [2, 2], "shift": [2, 2], "zero_code": [5, 6]}
    # Row 0 fills its list, which leaves row 1's empty; a third outlier of row 1 saturates low.
    assert encoded([[[200, 200, 200], [0, 200, 0]]], per_token) == [[[5, 5, 15], [6, 6, 0]]]
    assert encoded([[[200, 200, 200], [0, 200, 0]]], per_token, capacity=1) == [[[5, 15, 15], [6, 15, 0]]]


@given(st.data())
def test_token_encoder_equals_definition(data: st.DataObject) -> None:
    draw = data.draw
    in_bits, code_bits, capacity = (
        draw(st.integers(2, MAX_IN_BITS)),
        draw(st.integers(1, 8)),
        draw(st.integers(1, 4)),
    )
    top, last = (1 << in_bits) - 1, (1 << code_bits) - 1
    zero_point, threshold = draw(st.integers(0, top)), draw(st.integers(0, top))
    tokens, channels = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    x = integers(draw, 0, top, 2, tokens, channels)
    multiplier, shift = integers(draw, 1, (1 << 17) - 1, tokens), integers(draw, 1, 24, tokens)
    zero_code = integers(draw, 0, last, tokens)
    offset = [(zero << s) + (1 << (s - 1)) for zero, s in zip(zero_code, shift, strict=True)]

    expected: list[Rows] = [[] for _ in x]
    for image, rows in zip(expected, x, strict=True):
        for t, row in enumerate(rows):
            beside = {channel for channel, _ in listed(row, zero_point, threshold, capacity)}
            codes = []
            for channel, value in enumerate(row):
                steps = Fraction((value - zero_point) * multiplier[t], 1 << shift[t])
                plain = min(max(half_up(steps + zero_code[t]), 0), last)
                codes.append(zero_code[t] if channel in beside else plain)
            image.append(codes)
    per_token = {"multiplier": multiplier, "offset": offset, "shift": shift, "zero_code": zero_code}
    assert encoded(x, per_token, in_bits=in_bits, in_zero_point=zero_point, threshold=threshold,
                   capacity=capacity, code_bits=code_bits) == expected  # fmt: skip


@pytest.mark.parametrize(
    ("x", "zero_code", "changes", "message"),
    [
        (256, 0, {}, r"token encoder input spans \[256, 256\], outside u8"),
        (-1, 0, {}, r"token encoder input spans \[-1, -1\], outside u8"),
        (0, 16, {}, r"token encoder zero code spans \[16, 16\], outside u4"),
        (0, -1, {}, r"token encoder zero code spans \[-1, -1\], outside u4"),
        (0, 0, {"capacity": 0}, "capacity of the outlier list must be at least 1, not 0"),
    ],
)
def test_token_encoder_refuses(x: int, zero_code: int, changes: dict[str, int], message: str) -> None:
    per_token = {"multiplier": [1], "offset": [1], "shift": [1], "zero_code": [zero_code]}
    with pytest.raises(InvariantError, match=message):
        encoded([[x]], per_token, **changes)


# outlier_list

LIST = {"in_bits": 8, "in_zero_point": 100, "threshold": 50, "capacity": 2}


def words(x: Any, channels: int, **changes: int) -> Any:
    return outlier_list.golden(tensor(x), **(LIST | changes), channels=channels).tolist()


def test_outlier_list_by_hand() -> None:
    # Values are 9 bits wide: 51 at channel 1, −51 = 512 − 51 at channel 3.
    assert words([[100, 151, 150, 49]], 4) == [[(1 << 9) | 51, (3 << 9) | 461]]
    # None, one (at channel 0, the others within the threshold), and more than there is room for: the first two.
    assert words([[100, 50, 150, 100], [0, 100, 100, 100], [255, 0, 255, 0]], 4) == [
        [0, 0], [412, 0], [155, (1 << 9) | 412],
    ]  # fmt: skip
    # Room for more than the row has channels; any leading axes; threshold 0 lists all but zero.
    assert words([[[99, 100, 101]]], 3, threshold=0, capacity=4) == [[[511, (2 << 9) | 1, 0, 0]]]
    assert words([7], 1, threshold=0, in_zero_point=0, capacity=1) == [7]


@given(st.data())
def test_outlier_list_equals_definition_and_carries_what_the_encoder_leaves_out(data: st.DataObject) -> None:
    draw = data.draw
    in_bits, capacity, channels = (
        draw(st.integers(1, MAX_IN_BITS)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 7)),
    )
    top = (1 << in_bits) - 1
    zero_point, threshold = draw(st.integers(0, top)), draw(st.integers(0, top))
    x = integers(draw, 0, top, 2, 3, channels)
    settings = {"in_bits": in_bits, "in_zero_point": zero_point, "threshold": threshold, "capacity": capacity}
    expected = []
    for rows in x:
        expected.append([])
        for row in rows:
            found = [
                channel * 2 ** (in_bits + 1) + value % 2 ** (in_bits + 1)
                for channel, value in listed(row, zero_point, threshold, capacity)
            ]
            expected[-1].append(found + [0] * (capacity - len(found)))
    assert words(x, channels, **settings) == expected

    # With an offset that makes every ordinary code 0 or 2, code 1 marks what travels in the list.
    one = [1] * 3
    per_token = {"multiplier": one, "offset": [-1 << 40] * 3, "shift": one, "zero_code": one}
    codes = encoded(x, per_token, **settings, code_bits=2)
    for image, image_codes in zip(x, codes, strict=True):
        for row, row_codes in zip(image, image_codes, strict=True):
            beside = [channel for channel, _ in listed(row, zero_point, threshold, capacity)]
            assert [channel for channel, code in enumerate(row_codes) if code == 1] == beside


@pytest.mark.parametrize(
    ("x", "channels", "changes", "message"),
    [
        ([256, 0], 2, {}, r"outlier list input spans \[0, 256\], outside u8"),
        ([0, 0], 3, {}, "outlier list takes rows of 3 channels, not 2"),
        ([0, 0], 2, {"capacity": 0}, "must be at least 1, not 0"),
        ([0, 0], 2, {"in_zero_point": 257}, r"outlier value spans \[-257, -257\], outside s9"),
    ],
)
def test_outlier_list_refuses(x: list[int], channels: int, changes: dict[str, int], message: str) -> None:
    with pytest.raises(InvariantError, match=message):
        words([x], channels, **changes)


# outlier_mac


def sums(a: Any, w: Rows, bias: list[int] | None = None, **changes: int) -> Any:
    widths = {"value_bits": 9, "index_bits": 2, "acc_bits": 32} | changes
    return outlier_mac.golden(tensor(a), tensor(w), None if bias is None else tensor(bias), **widths).tolist()


def test_outlier_mac_by_hand() -> None:
    w = [[1, 10, 100], [-2, 3, 0]]
    # 51 at channel 1 and −51 at channel 2: 510 − 5100, and 153 − 0.
    a = [[(1 << 9) | 51, (2 << 9) | 461], [0, 0], [412, 0]]
    assert sums(a, w) == [[-4590, 153], [0, 0], [-100, 200]]
    assert sums(a, w, [7, -7]) == [[-4583, 146], [7, -7], [-93, 193]]
    # The smallest and the largest value; one channel listed twice adds up; leading axes.
    assert sums([[[256, 255]]], w) == [[[-1, 2]]]


def test_outlier_mac_is_as_wide_as_stated() -> None:
    # −8 · 1 fits s4, 8 · 1 does not.
    assert sums([[8]], [[1]], value_bits=4, acc_bits=4) == [[-8]]
    with pytest.raises(InvariantError, match=r"outlier_mac accumulator spans \[8, 8\], outside s4"):
        sums([[8]], [[-1]], value_bits=4, acc_bits=4)


@given(st.data())
def test_outlier_mac_equals_definition(data: st.DataObject) -> None:
    draw = data.draw
    value_bits, index_bits = draw(st.integers(1, 17)), draw(st.integers(1, 3))
    columns, rows, places = (
        draw(st.integers(1, 1 << index_bits)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
    )
    outputs = draw(st.integers(1, 3))
    top = (columns << value_bits) - 1
    a, w = integers(draw, 0, top, 2, rows, places), integers(draw, -128, 127, outputs, columns)
    bias = draw(st.none() | st.just(integers(draw, -999, 999, outputs)))
    expected: list[Rows] = []
    for image in a:
        expected.append([])
        for row in image:
            acc = list(bias or [0] * outputs)
            for word in row:
                index, value = divmod(word, 2**value_bits)
                value -= 2**value_bits if 2 * value >= 2**value_bits else 0
                acc = [total + value * w[n][index] for n, total in enumerate(acc)]
            expected[-1].append(acc)
    assert sums(a, w, bias, value_bits=value_bits, index_bits=index_bits) == expected


@given(st.data())
def test_dense_and_sparse_share_add_up(data: st.DataObject) -> None:
    """Multiplying the list is multiplying the outliers where they stand."""
    channels, capacity = 5, data.draw(st.integers(1, 5))
    x = integers(data.draw, 0, 255, 1, 2, channels)
    w = integers(data.draw, -8, 7, 3, channels)
    found = words(x, channels, capacity=capacity)
    expected = [
        [
            [sum(value * row[channel] for channel, value in listed(line, 100, 50, capacity)) for row in w]
            for line in image
        ]
        for image in x
    ]
    assert sums(found, w, index_bits=3) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (1 << 11, r"outlier word spans \[2048, 2048\], outside u11"),
        (-1, r"outlier word spans \[-1, -1\], outside u11"),
        (3 << 9, "an outlier's index is 3, but the weights have 3 columns"),
    ],
)
def test_outlier_mac_refuses(word: int, message: str) -> None:
    with pytest.raises(InvariantError, match=message):
        sums([[word]], [[1, 2, 3]])


# token_scaler


def scaled(acc: Any, outlier: Any, multiplier: list[int], zero_point: list[int], column_sum: list[int],
           outlier_shift: int, shift: int, out_bits: int) -> Any:  # fmt: skip
    per_token = tensor(multiplier), tensor(zero_point), tensor(column_sum)
    widths = {"outlier_shift": outlier_shift, "shift": shift, "out_bits": out_bits}
    return token_scaler.golden(tensor(acc), tensor(outlier), *per_token, **widths).tolist()


def test_token_scaler_by_hand() -> None:
    # Token 0: (acc − 2 · [3, −4]) · 5; token 1: (acc − 0) · 1. Outliers count 4. Eighths, HALF_UP:
    # (10 − 6) · 5 + 4 · 2 = 28 -> 3.5 -> 4;  (−12 + 8) · 5 + 4 · −2 = −28 -> −3.5 -> −3;
    # 7 + 4 · 0 = 7 -> 0.875 -> 1;           −5 + 0 -> −0.625 -> −1.
    acc, outlier = [[10, -12], [7, -5]], [[2, -2], [0, 0]]
    assert scaled(acc, outlier, [5, 1], [2, 0], [3, -4], 2, 3, 8) == [[4, -3], [1, -1]]
    # Without shifts nothing rounds; leading axes.
    assert scaled([acc, acc], [outlier, acc], [5, 1], [2, 0], [3, -4], 0, 0, 8) == [
        [[22, -22], [7, -5]], [[30, -32], [14, -10]],
    ]  # fmt: skip
    # A tie of −0.5 goes up to 0, one of 0.5 up to 1.
    assert scaled([[-1, 1]], [[0, 0]], [1], [0], [0, 0], 0, 1, 2) == [[0, 1]]


def test_token_scaler_is_as_wide_as_stated() -> None:
    assert scaled([[-8, 7]], [[0, 0]], [1], [0], [0, 0], 0, 0, 4) == [[-8, 7]]
    for acc in (8, -9):
        with pytest.raises(InvariantError, match=rf"token scaler output spans \[{acc}, {acc}\], outside s4"):
            scaled([[acc]], [[0]], [1], [0], [0], 0, 0, 4)


@given(st.data())
def test_token_scaler_equals_definition(data: st.DataObject) -> None:
    draw = data.draw
    tokens, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    acc, outlier = (integers(draw, -(1 << 20), 1 << 20, 2, tokens, outputs) for _ in range(2))
    multiplier, zero_point = integers(draw, 1, (1 << 17) - 1, tokens), integers(draw, 0, 255, tokens)
    column_sum = integers(draw, -9999, 9999, outputs)
    outlier_shift, shift = draw(st.integers(0, 16)), draw(st.integers(0, 30))
    expected = [
        [
            [
                half_up(Fraction((acc[b][t][n] - zero_point[t] * column_sum[n]) * multiplier[t]
                                 + outlier[b][t][n] * 2**outlier_shift, 2**shift))
                for n in range(outputs)
            ]
            for t in range(tokens)
        ]
        for b in range(2)
    ]  # fmt: skip
    assert scaled(acc, outlier, multiplier, zero_point, column_sum, outlier_shift, shift, 62) == expected


# log2_encoder


def thresholds(in_bits: int, steps_per_octave: int) -> list[int]:
    """ceil(2^(in_bits − 1 + f)) for f = 1/2, or 1/4 and 3/4, by integer roots alone."""
    if steps_per_octave == 1:
        return [math.isqrt((1 << (2 * in_bits - 1)) - 1) + 1]
    return [math.isqrt(math.isqrt((1 << (4 * in_bits - 4 + n)) - 1)) + 1 for n in (1, 3)]


def logs(x: Any, **parameters: int) -> Any:
    table = thresholds(parameters["in_bits"], parameters["steps_per_octave"])
    return log2_encoder.golden(tensor(x), **parameters, thresholds=table).tolist()


def test_log2_encoder_thresholds() -> None:
    # 2^7.5 = 181.02; 2^7.25 = 152.2 and 2^7.75 = 215.3.
    assert thresholds(8, 1) == [182]
    assert thresholds(8, 2) == [153, 216]


def test_log2_encoder_by_hand() -> None:
    base2 = {"in_bits": 8, "code_bits": 3, "steps_per_octave": 1, "unity": 6, "max_level": 6}
    # Code 0 stands for 64. 181 / 128 < √2 ≤ 182 / 128: 45 (u = 180) is nearer to 32, 46 (u = 184) to 64; above, 0.
    assert logs([0, 255, 128, 64, 46, 45, 32, 23, 22, 16], **base2) == [7, 0, 0, 0, 0, 1, 1, 1, 2, 2]
    # 3 -> 4, 2, 1 -> codes 4, 5, 6; with max_level 4 all below is zero.
    assert logs([3, 2, 1], **base2) == [4, 5, 6]
    assert logs([[3, 2], [1, 0]], **(base2 | {"max_level": 4})) == [[4, 7], [7, 7]]
    # Unity 7: 1 would be code 7, the one that means zero, so max_level 6 makes it that.
    assert logs([255, 182, 181, 128, 2, 1], **(base2 | {"unity": 7})) == [0, 0, 0, 0, 6, 7]

    sqrt2 = {"in_bits": 8, "code_bits": 4, "steps_per_octave": 2, "unity": 5, "max_level": 14}
    # Code 0 stands for 32: 27 (u = 216) reaches both thresholds, 26 (208) and 20 (160) one, 19 (152) none.
    assert logs([0, 255, 33, 32, 27, 26, 20, 19, 16, 3, 1], **sqrt2) == [15, 0, 0, 0, 0, 1, 1, 2, 2, 7, 10]


@given(st.integers(1, 24), st.integers(2, 8), st.sampled_from([1, 2]), st.data())
def test_log2_encoder_equals_definition(
    in_bits: int, code_bits: int, steps: int, data: st.DataObject
) -> None:
    unity = data.draw(st.integers(0, in_bits - 1))
    max_level = data.draw(st.integers(0, (1 << code_bits) - 2))
    x = data.draw(st.lists(st.integers(0, (1 << in_bits) - 1), min_size=1, max_size=30))
    expected = []
    for value in x:
        # The code nearest to steps · (unity − log2 x) is the k with x^(2 steps) between the powers of two half a
        # step around 2^(2 steps · unity − 2 k): logarithms become whole powers, and no power meets a half.
        power = Fraction(value ** (2 * steps), 2 ** (2 * steps * unity))
        nearest = next(
            (k for k in range(max_level + 1) if power >= Fraction(2, 4 ** (k + 1))), (1 << code_bits) - 1
        )
        expected.append(nearest)
    found = logs(
        x, in_bits=in_bits, code_bits=code_bits, steps_per_octave=steps, unity=unity, max_level=max_level
    )
    assert found == expected


@pytest.mark.parametrize("x", [-1, 256])
def test_log2_encoder_refuses(x: int) -> None:
    with pytest.raises(InvariantError, match=rf"log2 encoder input spans \[{x}, {x}\], outside u8"):
        logs([x], in_bits=8, code_bits=3, steps_per_octave=1, unity=6, max_level=6)
