"""One file per unit: its frozen parameters, numba kernel and cycle model, written from docs/datapath.md."""
