"""Fast, integer-only execution of programs, with cycle models. Never imports torch."""

from pathlib import Path

from sim.kernel_cache import drop_stale

drop_stale(Path(__file__).parent)
