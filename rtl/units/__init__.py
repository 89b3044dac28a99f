"""One file per unit: the Amaranth component that realises the spec of the same name in sim.units."""
