"""What a trial has found."""

from reports.row import Amount, Count, Row
from reports.search.proxy import Estimate


class Found(Row):
    """What the proxy says of one configuration."""

    number: Count
    """Of the trial."""
    values: dict[str, int | str]
    estimate: Estimate
    area: Amount
    """By the area model, in the target's main resource."""

    def cost(self, name: str) -> float:
        """One of reports.search.request.OBJECTIVES."""
        return self.area if name == "area" else float(getattr(self.estimate, name))
