"""Shipped schemes, one TOML file each."""
