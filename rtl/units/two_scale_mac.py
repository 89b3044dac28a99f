"""Two-scale multiply-accumulate hardware: multiply the payload, register; shift or negate, accumulate, register."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from golden.formats import Integer
from rtl.dot_product import DotProduct
from rtl.element import Element, centred, product_shape
from sim.units.two_scale_mac import TwoScaleMac as Spec


class TwoScaleElement(Element):
    """The multiplier takes only the payload; the flag chooses between two wirings of the product."""

    spec: Spec

    def left(self, code: Value) -> Value:
        """Flag and payload as they are."""
        return code

    def right(self, code: Value) -> Value:
        """Less its zero point."""
        return centred(code, self.spec.w_format, self.spec.w_zero_point)

    def term(self, m: Module, left: Value, right: Value) -> Sequence[Value]:
        """The payload's product and the flag."""
        spec = self.spec
        payload = Integer(bits=spec.payload_bits, signed=False)
        ends = product_shape(payload, 0, spec.w_format, spec.w_zero_point)
        product, coarse = Signal(ends, reset_less=True), Signal(reset_less=True)
        m.d.sync += [product.eq(left[: spec.payload_bits] * right), coarse.eq(left[-1])]
        return product, coarse

    def total(self, before: Value, *term: Value) -> Value:
        """Adds the product, shifted or negated as the flag says."""
        product, coarse = term
        if not self.spec.signed_regions:
            return before + Mux(coarse, product << self.spec.shift, product)
        # −p = ~p + 1. A place below the lowest, where 1 + 1 carries, adds that 1 in the accumulator's own adder.
        added = Mux(coarse, product << self.spec.shift, ~product)
        return (Cat(Const(1), before).as_signed() + Cat(~coarse, added).as_signed()) >> 1


class TwoScaleMac(DotProduct):
    """Dot products of two-scale or sign-scale codes and an integer onto a bias, one product per cycle.

    Ports: in `a: u(code_bits), last`, `w: w_format`, `bias: s(acc_bits)`; out `o: s(acc_bits)`.
    Latency: `n + 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: none in the sum; what does not fit `acc_bits` wraps or saturates, as `overflow` says.
    Paper: TSPTQ-ViT (ICASSP 2023, arXiv 2305.12901), whose formulas are reconstructed here from its summary; regions
        by sign, PTQ4ViT (ECCV 2022, arXiv 2111.12293).
    """

    spec: Spec
    element = TwoScaleElement
