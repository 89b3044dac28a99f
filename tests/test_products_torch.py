"""Products by torch: found out where the processor gets them wrong, left out where it is slow or there is no torch."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from golden.errors import UserError
from sim import products, products_torch
from sim.products import centred, fixed
from sim.products_torch import engines

ENGINES = {engine.name: engine for engine in engines()}
INT8, FLOAT32 = ENGINES["int8"], ENGINES["float32"]


def saturating(a: Any, w: Any, out: Any) -> None:
    """Pairs of products added in saturating int16, as processors without VNNI do."""
    terms = a.astype(np.int64)[:, None] * w.astype(np.int64)[None]
    terms = np.pad(terms, ((0, 0), (0, 0), (0, terms.shape[2] % 2)))
    pairs = np.clip(terms[..., ::2] + terms[..., 1::2], -(2**15), 2**15 - 1)
    out[...] = pairs.sum(axis=-1)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_a_processor_that_saturates_is_found_out(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    shape = (4, 3, 6)
    assert products_torch._at_the_ends(INT8.multiply, np.dtype(kind), shape)
    assert not products_torch._at_the_ends(saturating, np.dtype(kind), shape)
    engine = INT8._replace(
        multiply=saturating, exact=lambda k, s: products_torch._at_the_ends(saturating, k, s)
    )
    monkeypatch.setattr(products, "chosen", lambda: (engine,))
    monkeypatch.setattr(products, "_WORTH", 0)
    a = centred(np.full((1, 4, 6), 255), (255, 255), 0)
    w = centred(np.full((1, 3, 6), 127), (127, 127), 0)
    a.codes[..., 0] = 0  # codes that are all the same are an offset
    w.codes[..., 0] = 0
    assert (products.products(a, w, np.zeros(3, np.int64)) == 5 * 255 * 127).all()
    monkeypatch.setattr(products, "chosen", lambda: (engine._replace(exact=lambda k, s: True),))
    assert (products.products(a, w, np.zeros(3, np.int64)) != 5 * 255 * 127).all()


def test_sums_in_another_place_are_found_out() -> None:
    def turned(a: Any, w: Any, out: Any) -> None:
        INT8.multiply(a[::-1].copy(), w, out)

    for shape in ((4, 3, 6), (394, 192, 64)):
        assert products_torch._in_place(INT8.multiply, np.dtype(np.uint8), shape)
        assert not products_torch._in_place(turned, np.dtype(np.uint8), shape)


def test_two_rows_in_each_others_place_are_found_out() -> None:
    def swapped(a: Any, w: Any, out: Any) -> None:
        INT8.multiply(a[[0, 2, 1, 3]].copy(), w, out)

    assert not products_torch._in_place(swapped, np.dtype(np.uint8), (4, 3, 6))


def test_one_wrong_sum_at_the_ends_is_found_out() -> None:
    def wrong(a: Any, w: Any, out: Any) -> None:
        INT8.multiply(a, w, out)
        out[3, 2] += 1

    assert not products_torch._at_the_ends(wrong, np.dtype(np.int8), (4, 3, 6))


def test_nothing_is_in_its_place() -> None:
    for shape in ((0, 3, 2), (3, 0, 2)):
        assert products_torch._in_place(lambda a, w, out: None, np.dtype(np.int8), shape) is True


def test_bounds_of_the_engines() -> None:
    """int8 sums in int32; float32 holds integers to 2^24."""
    assert (INT8.limit, INT8.splits) == (2**31 - 1, True)
    assert (FLOAT32.limit, FLOAT32.splits) == (2**24, False)


@pytest.mark.usefixtures("unchosen")
@pytest.mark.parametrize(
    ("depth", "at_the_ends", "in_place"),
    [(1, True, True), (2, True, True), (2, False, True), (2, True, False)],
)
def test_an_int8_product_must_pass_every_trial(
    monkeypatch: pytest.MonkeyPatch, depth: int, at_the_ends: bool, in_place: bool
) -> None:
    """A depth of 1 has no order of axes to tell torch, whatever the trials would give."""
    monkeypatch.setattr(products_torch, "_at_the_ends", lambda *_: at_the_ends)
    monkeypatch.setattr(products_torch, "_in_place", lambda *_: in_place)
    exact = engines()[0].exact(np.dtype(np.uint8), (4, 3, depth))
    assert exact is (depth > 1 and at_the_ends and in_place)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_one_thread_inside_and_as_many_as_before_outside(threads: int) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with products_torch.one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_an_engine_without_instructions_for_it_is_left_out() -> None:
    def slow(a: Any, w: Any, out: Any) -> None:
        for _ in range(20000):
            pass
        np.matmul(a.astype(np.int64), w.T.astype(np.int64), out=np.empty(out.shape, np.int64))

    found = products._competitive((INT8._replace(multiply=slow), INT8))
    assert INT8._replace(multiply=slow) not in found


def test_float32_is_left_out_where_torch_shortens_it() -> None:
    import torch

    settings: Any = torch.backends.mkldnn
    before = settings.matmul.fp32_precision
    assert FLOAT32.exact(np.dtype(np.int8), (1, 1, 1))
    try:
        settings.matmul.fp32_precision = "bf16"
        assert not FLOAT32.exact(np.dtype(np.int8), (1, 1, 1))
    finally:
        settings.matmul.fp32_precision = before


@pytest.fixture
def unchosen() -> Iterator[None]:
    """The choice is made anew, here and after."""
    for made in (products.chosen, products_torch.engines):
        made.cache_clear()
    yield
    for made in (products.chosen, products_torch.engines):
        made.cache_clear()


@pytest.mark.usefixtures("unchosen")
def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert products.chosen() == ()
    a = centred(np.full((1, 64, 64), 255), (255, 255), 0)
    w = fixed(centred(np.full((1, 64, 64), -128), (-128, -128), 0))
    with products.one_thread():
        assert (products.products(a, w, np.zeros(64, np.int64)) == -64 * 255 * 128).all()


@pytest.mark.usefixtures("unchosen")
@pytest.mark.parametrize(("wanted", "names"), [("kernels", []), ("int8", ["int8"]), ("float32", ["float32"])])
def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, wanted: str, names: list[str]) -> None:
    monkeypatch.setenv(products.VARIABLE, wanted)
    assert [engine.name for engine in products.chosen()] == names


@pytest.mark.usefixtures("unchosen")
def test_unasked_those_that_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(products.VARIABLE, raising=False)
    monkeypatch.setattr(products, "_competitive", lambda engines: engines[::-1])
    assert products.chosen() == products_torch.engines()[::-1]


@pytest.mark.usefixtures("unchosen")
def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(products.VARIABLE, "int4")
    with pytest.raises(
        UserError, match="VITRTL_PRODUCTS must be fastest, int8, float32 or kernels, not 'int4'"
    ):
        products.chosen()
