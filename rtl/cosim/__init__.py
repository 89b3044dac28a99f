"""Cosimulation: one bench for every unit, run in an RTL simulator against the model's bits and cycles."""
