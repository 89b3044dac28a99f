"""Lowering: a calibrated float model becomes a program of integers; the last place where floats occur."""

from golden.lowering.vit import lower

__all__ = ["lower"]
