"""Mutation run: one fault at a time in the sources of `rtl` and `sim`, and what makes it fail."""
