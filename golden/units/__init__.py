"""One file per unit: its reference on int64 tensors, written from docs/datapath.md."""
