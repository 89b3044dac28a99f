"""Units that part a row's outliers from its other values: what they share."""

from collections.abc import Mapping
from dataclasses import dataclass

from golden.formats import Integer
from sim.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierUnit(Unit):
    """A unit whose input x holds rows of codes, some of them outliers.

    With d = x − `in_zero_point`, an outlier is a d with |d| > `threshold` before which the row had fewer than
    `capacity` outliers.
    """

    in_bits: int
    """Width of the unsigned input, 2 to 16."""
    in_zero_point: int
    """Code of the input that means 0, one of its codes."""
    threshold: int
    """Largest |d| of a value that is never an outlier, 0 to 2^in_bits − 1."""
    capacity: int
    """Most outliers of a row, 1 to 64."""

    def __post_init__(self) -> None:
        self.check_limits({"in_bits": (2, 16), "capacity": (1, 64)})
        codes = (0, self.in_format.max_code)
        self.check_limits({"in_zero_point": codes, "threshold": codes})

    def check_limits(self, limits: Mapping[str, tuple[int, int]]) -> None:
        """Refuses the first parameter that lies outside its limits.

        Raises:
            ValueError: one does.
        """
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")

    @property
    def in_format(self) -> Integer:
        """The input x."""
        return Integer(bits=self.in_bits, signed=False)

    @property
    def value_format(self) -> Integer:
        """d: the zero point is a code of x, so that |d| < 2^in_bits."""
        return Integer(bits=self.in_bits + 1, signed=True)
