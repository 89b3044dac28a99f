"""Area and clock rate of units: three FPGA vendors' families and any standard cells; every cell counted."""

from reports.synthesis.area import TOP, Area, SynthesisError, Target
from reports.synthesis.cache import user_cache
from reports.synthesis.flow import synthesize
from reports.synthesis.pool import Job, synthesize_all

__all__ = ["TOP", "Area", "Job", "SynthesisError", "Target", "synthesize", "synthesize_all", "user_cache"]
