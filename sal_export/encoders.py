"""The two modules that are deployed: from a uint8 crop, or from an attribute vector, to a unit vector."""

from __future__ import annotations

from torch import Tensor, nn

from sal_train.networks import Networks, unit


class DeployedImageEncoder(nn.Module):
    """Normalisation, image backbone, E_V and L2 norm in one graph, so that a runtime cannot get any of them wrong."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.image_backbone = networks.image_backbone
        self.E_V = networks.E_V

    def forward(self, images: Tensor) -> Tensor:
        """uint8 RGB [N, H, W, 3] -> unit vectors float32 [N, d]."""
        return unit(self.E_V(self.image_backbone(images)))


class DeployedAttributeEncoder(nn.Module):
    """Attribute backbone, E_A, the linear part of the query if the run has one, and L2 norm."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.attribute_backbone = networks.attribute_backbone
        self.E_A = networks.E_A
        self.linear_query = networks.linear_query

    def forward(self, attributes: Tensor) -> Tensor:
        """Vectors of 0 and 1, float32 [Q, A] -> unit vectors float32 [Q, d]."""
        embedding = self.E_A(self.attribute_backbone(attributes))
        if self.linear_query is not None:
            embedding = unit(embedding) + unit(self.linear_query(attributes))
        return unit(embedding)
