"""AAIPR-like: image concepts, and an adversary that makes attributes look like them (Yin et al., IJCAI 2018).

No code of the authors was found. SAL's own code descends from it: without attribute recognition and without synthetic
features, SAL's phases are this system (`embed_image` with L_cat alone, then D_2 against E_A). With `losses.attribute`
above 0 it is the row "Embed + adv" of SAL's Table 2.
"""

from __future__ import annotations

from sal_runtime.query.schema import AttributeSchema
from sal_train.config import Config
from sal_train.networks import Networks
from sal_train.phases import PHASES
from sal_train.systems.system import System, by_name


class AaiprNetworks(Networks):
    """SAL's networks, of which the generators stay unused; no phase trains C_att."""

    fits_head = True

    def __init__(self, config: Config, schema: AttributeSchema, num_categories: int) -> None:
        super().__init__(config.model, schema.num_bits, num_categories)


AAIPR = System(
    build=AaiprNetworks,
    phases=by_name(*(PHASES[name] for name in ("embed_image", "embed_attribute", "alignment_D", "alignment_E"))),
)
