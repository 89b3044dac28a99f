"""Options that several commands share, with the one help text of each."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str, typer.Option(help="timm model, or vitrtl_digits, which ships with its weights and images")
]
Weights = Annotated[
    Path | None, typer.Option(help="safetensors or torch file; without it timm's pretrained weights")
]
Images = Annotated[Path | None, typer.Option(help="folder of class folders of images to evaluate")]
Calib = Annotated[Path | None, typer.Option(help="folder of class folders of images to calibrate on")]
ClassMap = Annotated[
    Path | None, typer.Option(help="text file: class folder names in the order of the classes")
]
SchemeName = Annotated[str, typer.Option(help="shipped scheme or a .toml file")]
WeightBits = Annotated[int, typer.Option(help="bits of a weight, 2 to 8")]
ActBits = Annotated[int, typer.Option(help="bits of an activation, 2 to 8")]
Limit = Annotated[int | None, typer.Option(help="evaluate only N images, evenly spread")]
Out = Annotated[Path, typer.Option(help="folder for results.json, report.html and the programs")]
Seed = Annotated[int, typer.Option(help="seed of the calibration draw and of random stimuli")]
BatchSize = Annotated[int, typer.Option(help="images at a time")]
AcceleratorFile = Annotated[
    Path | None, typer.Option(help="accelerator description (.toml); default: the shipped one")
]
CheckImages = Annotated[
    int, typer.Option(help="images whose every tensor is compared with the int64 reference")
]
AccBits = Annotated[
    int | None,
    typer.Option(help="widest accumulator, 8 to 62 bits; default: as wide as its sums are proven to need"),
]
AccOverflow = Annotated[
    str | None, typer.Option(help="what a sum wider than --acc-bits does: wrap or saturate")
]
Rows = Annotated[int, typer.Option(help="real rows per unit and parameter set, besides the directed ones")]
