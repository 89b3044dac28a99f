"""The fake-quantised model: float arithmetic on values that went through encode and decode at every site."""

from torch import Tensor

from golden.calibrate import Calibrated
from golden.model import forward


class FakeQuantizer:
    """The tap of a calibrated model; quantised weights are made once."""

    def __init__(self, calibrated: Calibrated) -> None:
        self._activations = calibrated.activations
        self._weights = {
            layer: codec.fake(calibrated.model.weights[f"{layer}.weight"])
            for layer, codec in calibrated.weights.items()
        }

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        """`x` encoded and decoded; the residual stream stays float where the scheme gives it no format."""
        return self._activations[site].fake(x) if site in self._activations else x

    def weight(self, layer: str, w: Tensor) -> Tensor:
        """The quantised weight, in the type of the float one."""
        return self._weights[layer].to(w.dtype)


class FakeRecorder(FakeQuantizer):
    """The fake-quantised model, keeping every site's value."""

    def __init__(self, calibrated: Calibrated) -> None:
        super().__init__(calibrated)
        self.values: dict[str, Tensor] = {}

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        """As in FakeQuantizer, remembered under the site's name."""
        self.values[site] = super().activation(site, kind, x)
        return self.values[site]


def fakequant_logits(calibrated: Calibrated, images: Tensor, tap: FakeQuantizer) -> Tensor:
    """Logits [B, classes] of normalised images; `tap` made once from the same calibration."""
    return forward(calibrated.model, images, tap)
