"""Terms of the page, each beside the table that needs it."""

GLOSSARY = (
    ("float", "accuracy", "The model as it was trained, in floating point: the baseline of every accuracy."),
    (
        "fake-quant",
        "accuracy",
        "The float model with every tensor rounded to its number format, as papers measure it.",
    ),
    (
        "hardware zero",
        "accuracy",
        "Fake-quant in which a log format gives one of its codes to zero, as hardware must.",
    ),
    ("integer", "accuracy", "The integer datapath itself, bit for bit what the RTL computes."),
    ("code", "fidelity", "A stored integer; a number format says which real value it stands for."),
    (
        "SQNR",
        "fidelity",
        "Signal to quantisation noise ratio: power of the float output over power of the error.",
    ),
    (
        "overflow",
        "overflows",
        "An output of which some sum, in the order of its terms, did not fit the accumulator.",
    ),
    ("95 % interval", "accuracy", "Wilson score interval of the accuracy, from the number of images alone."),
    ("vector", "verification", "What crosses an output stream in one handshake, all lanes together."),
    (
        "library",
        "verification",
        "The Verilog compiled to machine code: input vectors driven through it, “all” where there are no others.",
    ),
    (
        "mutant",
        "mutants",
        "One fault planted in the sources; killed by a test, or equivalent: it changes nothing that can be seen.",
    ),
    ("protocol error", "verification", "Valid withdrawn, or data changed, while the receiver was stalling."),
    (
        "of its peak",
        "cycles",
        "Operations that did work, as a share of what the unit could do in those cycles.",
    ),
    ("Fmax", "area", "Highest clock after place and route, by static timing analysis."),
)
"""Term, table it belongs to, meaning."""
