"""The systems by their names in a recipe (`model.system`)."""

from __future__ import annotations

from sal_runtime.errors import ConfigError
from sal_runtime.query.schema import AttributeSchema
from sal_train.config import Config
from sal_train.networks import Networks, SearchNetworks
from sal_train.phases import PHASES
from sal_train.systems.aaipr import AAIPR
from sal_train.systems.aihm import AIHM
from sal_train.systems.cca import DCCA, DCCAE
from sal_train.systems.cmce import CMCE
from sal_train.systems.deepmar import DEEPMAR
from sal_train.systems.mmcc import MMCC
from sal_train.systems.revise import REVISE
from sal_train.systems.system import System
from sal_train.systems.two_way_net import TWO_WAY


def _sal(config: Config, schema: AttributeSchema, num_categories: int) -> Networks:
    return Networks(config.model, schema.num_bits, num_categories)


SYSTEMS = {
    "sal": System(_sal, PHASES),
    "dcca": DCCA,
    "dccae": DCCAE,
    "deepmar": DEEPMAR,
    "2waynet": TWO_WAY,
    "cmce-like": CMCE,
    "revise-like": REVISE,
    "mmcc": MMCC,
    "aaipr-like": AAIPR,
    "aihm-like": AIHM,
}


def system_of(config: Config) -> System:
    """The system that a recipe trains.

    Raises:
        ConfigError: there is none of that name.
    """
    name = config.model.system
    if name not in SYSTEMS:
        raise ConfigError(f"model.system: got {name!r}, expected one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def build_networks(config: Config, schema: AttributeSchema, num_categories: int) -> SearchNetworks:
    """New networks of the system that a recipe trains, with random weights.

    Raises:
        ConfigError: the system is unknown, or the recipe asks for what only SAL has.
    """
    networks = system_of(config).build(config, schema, num_categories)
    if not isinstance(networks, Networks):
        for key, is_set in (
            ("model.linear_query", config.model.linear_query),
            ("optimiser.batchnorm_of_categories", config.optimiser.batchnorm_of_categories),
            ("run.teacher", bool(config.run.teacher)),
        ):
            if is_set:
                raise ConfigError(f"{key} is a setting of SAL; model.system {config.model.system!r} has none, unset it")
    return networks
