"""What every row of a result is, and the kinds of figure that rows hold."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Label = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]
"""Of a resource; halves occur, an 18 kbit memory being half a 36 kbit block."""
Percent = Annotated[float, Field(ge=0, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Duration = Annotated[float, Field(gt=0)]
"""In seconds, and never none: something ran."""
Megahertz = Annotated[float, Field(gt=0)]


class Row(BaseModel):
    """What every row is: frozen, no unknown keys, no silent conversions, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
