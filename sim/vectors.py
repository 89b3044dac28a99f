"""Sums of listed terms shifted right, in vectors that stay in registers, which the compiler makes of no loop in Python.

Each function is its own definition, and what Python runs; a kernel that calls it gets the LLVM instructions that
follow, for vectors of 64 bytes. Those LLVM breaks down for a processor that has only shorter ones, or none.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

WIDTH = 32
"""Columns of a sum of terms."""
UNROLLED = 4
"""Terms at a time: a list is filled up with as many that are 0."""
LANES = 16
"""Codes at a time: a row of them is a multiple, and a list has room for as many more."""
_BIT, _INT32, _INT64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


def list_terms(  # type: ignore[no-untyped-def]
    codes, none, steps, parity, longest, stride, offsets, amounts
) -> int:
    """Lists `k · stride` and `ceil(c / steps)`, `longest` at most, of the codes c = codes[k] of a parity but `none`.

    All are int32. Returns how many there are; what follows them in the lists is undefined.
    """
    count = 0
    for k, code in enumerate(codes):
        if code != none and code % steps == parity:
            offsets[count], amounts[count] = k * stride, min(-(-code // steps), longest)
            count += 1
    return count


def add_terms(terms, offsets, amounts, count, sums) -> None:  # type: ignore[no-untyped-def]
    """`sums[n] = Σ_j terms[offsets[j] + n] >> amounts[j]` over j < count, for WIDTH n.

    `terms` and `sums` are int32 or int64, the lists int32. Up to UNROLLED − 1 listed after these are added as well.
    """
    sums[:WIDTH] = 0
    for offset, amount in zip(offsets[:count], amounts[:count], strict=True):
        sums[:WIDTH] += terms[offset : offset + WIDTH] >> amount


def _spread(builder: Any, value: Any, kind: Any) -> Any:
    """A vector of that value throughout."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _INT32(0))
    order = ir.Constant(ir.VectorType(_INT32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), order)


def _load(builder: Any, data: Any, place: Any, kind: Any) -> Any:
    """The vector that starts at an element."""
    pointer = builder.bitcast(builder.gep(data, [place]), kind.as_pointer())
    return builder.load(pointer, align=kind.element.width // 8)


def _store(builder: Any, vector: Any, data: Any, place: Any) -> None:
    """Writes the vector from an element on."""
    pointer = builder.bitcast(builder.gep(data, [place]), vector.type.as_pointer())
    builder.store(vector, pointer, align=vector.type.element.width // 8)


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Where the first element of an array is."""
    return context.make_array(kind)(context, builder, value).data


@intrinsic
def _list_terms(typing, codes, none, steps, parity, longest, stride, offsets, amounts):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        kind = ir.VectorType(_INT32, LANES)
        none, steps, parity, longest, stride = (_spread(builder, value, kind) for value in values[1:6])
        given, of_offsets, of_amounts = (
            _data(context, builder, signature.args[n], values[n]) for n in (0, 6, 7)
        )
        halves = builder.sub(steps, ir.Constant(kind, [1] * LANES))
        chosen = ir.FunctionType(kind, [kind, ir.VectorType(_BIT, LANES), kind])
        compress = cgutils.get_or_insert_function(
            builder.module, chosen, f"llvm.experimental.vector.compress.v{LANES}i32"
        )
        count = cgutils.alloca_once_value(builder, _INT64(0))
        length = builder.extract_value(context.make_array(codes)(context, builder, values[0]).shape, 0)
        with cgutils.for_range_slice(builder, _INT64(0), length, _INT64(LANES), inc=True) as (k, _):
            code = _load(builder, given, k, kind)
            of_parity = builder.icmp_signed("==", builder.and_(code, halves), parity)
            meant = builder.and_(builder.icmp_signed("!=", code, none), of_parity)
            # Steps are 1 or 2: what rounds up is the last bit as well as what to shift by.
            amount = builder.ashr(builder.add(code, halves), halves)
            amount = builder.select(builder.icmp_signed("<", amount, longest), amount, longest)
            first = _spread(builder, builder.trunc(k, _INT32), kind)
            offset = builder.mul(builder.add(ir.Constant(kind, list(range(LANES))), first), stride)
            so_far = builder.load(count)
            for listed, place in ((offset, of_offsets), (amount, of_amounts)):
                packed = builder.call(compress, [listed, meant, ir.Constant(kind, ir.Undefined)])
                _store(builder, packed, place, so_far)
            ones = builder.ctpop(builder.bitcast(meant, ir.IntType(LANES)))
            builder.store(builder.add(so_far, builder.zext(ones, _INT64)), count)
        return builder.load(count)

    return types.int64(codes, *(types.int32,) * 5, offsets, amounts), generate


@intrinsic
def _add_terms(typing, terms, offsets, amounts, count, sums):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        element = ir.IntType(terms.dtype.bitwidth)
        kind = ir.VectorType(element, 512 // element.width)
        starts = range(0, WIDTH, kind.count)
        of_terms, of_offsets, of_amounts, of_sums = (
            _data(context, builder, signature.args[n], values[n]) for n in (0, 1, 2, 4)
        )
        before, loop, after = builder.block, *map(builder.append_basic_block, ("terms", "summed"))
        zero = ir.Constant(kind, [0] * kind.count)
        builder.cbranch(builder.icmp_signed(">", values[3], _INT64(0)), loop, after)
        builder.position_at_end(loop)
        j, sums = builder.phi(_INT64), [builder.phi(kind) for _ in starts]
        totals = list(sums)
        for place in range(UNROLLED):
            at = builder.add(j, _INT64(place))
            offset = builder.sext(builder.load(builder.gep(of_offsets, [at])), _INT64)
            listed = builder.load(builder.gep(of_amounts, [at]))
            amount = _spread(builder, listed if element.width == 32 else builder.sext(listed, element), kind)
            for n, start in enumerate(starts):
                term = _load(builder, of_terms, builder.add(offset, _INT64(start)), kind)
                totals[n] = builder.add(totals[n], builder.ashr(term, amount))
        following = builder.add(j, _INT64(UNROLLED))
        builder.cbranch(builder.icmp_signed("<", following, values[3]), loop, after)
        for phi, first, then in zip(
            (j, *sums), (_INT64(0), *[zero] * len(sums)), (following, *totals), strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(then, loop)
        builder.position_at_end(after)
        results = [builder.phi(kind) for _ in starts]
        for result, total in zip(results, totals, strict=True):
            result.add_incoming(zero, before)
            result.add_incoming(total, loop)
        for start, result in zip(starts, results, strict=True):
            _store(builder, result, of_sums, _INT64(start))
        return context.get_dummy_value()

    return types.void(terms, offsets, amounts, types.int64, sums), generate


@overload(list_terms)
def _(codes, none, steps, parity, longest, stride, offsets, amounts):  # type: ignore[no-untyped-def]
    return lambda codes, none, steps, parity, longest, stride, offsets, amounts: _list_terms(
        codes, none, steps, parity, longest, stride, offsets, amounts
    )


@overload(add_terms)
def _(terms, offsets, amounts, count, sums):  # type: ignore[no-untyped-def]
    return lambda terms, offsets, amounts, count, sums: _add_terms(terms, offsets, amounts, count, sums)
