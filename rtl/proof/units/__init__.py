"""Specifications of units, one module each: `COMPONENT`, the hardware, and `Specification`, what it must do."""
