"""The two modules that are deployed: from a uint8 crop, or from an attribute vector, to a unit vector."""

from __future__ import annotations

from torch import Tensor, nn

from sal_train.networks import SearchNetworks, unit


class DeployedImageEncoder(nn.Module):
    """Normalisation, image backbone, E_V and L2 norm in one graph, so that a runtime cannot get any of them wrong."""

    def __init__(self, networks: SearchNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, images: Tensor) -> Tensor:
        """uint8 RGB [N, H, W, 3] -> unit vectors float32 [N, d]."""
        return unit(self.networks.embed_images(images))


class DeployedAttributeEncoder(nn.Module):
    """Attribute backbone, E_A, the linear part of the query if the run has one, and L2 norm."""

    def __init__(self, networks: SearchNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, attributes: Tensor) -> Tensor:
        """Vectors of 0 and 1, float32 [Q, A] -> unit vectors float32 [Q, d]."""
        return unit(self.networks.embed_attributes(attributes))
