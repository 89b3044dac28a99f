"""The comparators of the units that part a row's outliers from its other values."""

from amaranth.hdl import Value

from sim.outliers import OutlierUnit


def is_far(x: Value, spec: OutlierUnit) -> Value:
    """Whether |x − zero point| > threshold, from x itself: two comparisons with constants, not one behind d."""
    low, high = spec.in_zero_point - spec.threshold, spec.in_zero_point + spec.threshold
    return (x < low) | (x > high)
