"""One file per unit: the specs it contributes to verification and synthesis."""
