"""The 105 attributes of PETA as a schema: the published names in file order, and the words people use for them.

The paper counts 61 binary and 4 multi-valued attributes (the colours). Some of the binary ones exclude each other: male
and female, lengths of hair and of sleeves, casual and formal. The schema groups them, because queries and the sampling
of unseen combinations need to know. Labels that contradict the groups are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from sal_runtime.query.schema import AttributeSchema, Group, binary, exclusive

COLOURS = ("Black", "Blue", "Brown", "Green", "Grey", "Orange", "Pink", "Purple", "Red", "White", "Yellow")
ATTRIBUTES = (
    *("personalLess30", "personalLess45", "personalLess60", "personalLarger60"),
    *("carryingBackpack", "carryingOther", "lowerBodyCasual", "upperBodyCasual", "lowerBodyFormal", "upperBodyFormal"),
    *("accessoryHat", "upperBodyJacket", "lowerBodyJeans", "footwearLeatherShoes", "upperBodyLogo", "hairLong"),
    *("personalMale", "carryingMessengerBag", "accessoryMuffler", "accessoryNothing", "carryingNothing"),
    *("upperBodyPlaid", "carryingPlasticBags", "footwearSandals", "footwearShoes", "lowerBodyShorts"),
    *("upperBodyShortSleeve", "lowerBodyShortSkirt", "footwearSneaker", "upperBodyThinStripes"),
    *("accessorySunglasses", "lowerBodyTrousers", "upperBodyTshirt", "upperBodyOther", "upperBodyVNeck"),
    *(f"upperBody{colour}" for colour in COLOURS),
    *(f"lowerBody{colour}" for colour in COLOURS),
    *(f"hair{colour}" for colour in COLOURS),
    *(f"footwear{colour}" for colour in COLOURS),
    *("accessoryHeadphone", "personalLess15", "carryingBabyBuggy", "hairBald", "footwearBoots", "lowerBodyCapri"),
    *("carryingShoppingTro", "carryingUmbrella", "personalFemale", "carryingFolder", "accessoryHairBand"),
    *("lowerBodyHotPants", "accessoryKerchief", "lowerBodyLongSkirt", "upperBodyLongSleeve", "lowerBodyPlaid"),
    *("lowerBodyThinStripes", "carryingLuggageCase", "upperBodyNoSleeve", "hairShort", "footwearStocking"),
    *("upperBodySuit", "carryingSuitcase", "lowerBodySuits", "upperBodySweater", "upperBodyThickStripes"),
)
BIT = {name: bit for bit, name in enumerate(ATTRIBUTES)}
ONE_DRAW_GROUPS = ("age", "upper-colour", "lower-colour", "hair-colour", "footwear-colour")
"""Groups that the paper's sampler draws at once. Our age group includes "under 15", which the paper draws apart."""


def _present(word: str, attribute: str, *aliases: str) -> Group:
    return binary(word, BIT[attribute], present_aliases=aliases)


def _colours(part: str, prefix: str, aliases: Sequence[str]) -> Group:
    return exclusive(
        f"{part}-colour",
        {colour.lower(): BIT[f"{prefix}{colour}"] for colour in COLOURS},
        allow_none=True,
        aliases=aliases,
        state_aliases={"grey": ("gray",), "none": ("other", "multicoloured")},
    )


SCHEMA = AttributeSchema(
    "peta",
    (
        exclusive(
            "age",
            {
                "under-15": BIT["personalLess15"],
                "16-30": BIT["personalLess30"],
                "31-45": BIT["personalLess45"],
                "46-60": BIT["personalLess60"],
                "over-60": BIT["personalLarger60"],
            },
            allow_none=False,
            sensitive=True,
            state_aliases={
                "under-15": ("child",),
                "16-30": ("young",),
                "31-45": ("adult",),
                "46-60": ("middle-aged",),
                "over-60": ("old", "elderly", "senior"),
            },
        ),
        exclusive(
            "gender",
            {"male": BIT["personalMale"], "female": BIT["personalFemale"]},
            allow_none=False,
            sensitive=True,
            aliases=("sex",),
            state_aliases={"male": ("man",), "female": ("woman",)},
        ),
        exclusive(
            "hair",
            {"long-hair": BIT["hairLong"], "short-hair": BIT["hairShort"], "bald": BIT["hairBald"]},
            allow_none=True,
            aliases=("hair-length",),
            state_aliases={"long-hair": ("long",), "short-hair": ("short",)},
        ),
        exclusive(
            "sleeve",
            {
                "long-sleeve": BIT["upperBodyLongSleeve"],
                "short-sleeve": BIT["upperBodyShortSleeve"],
                "no-sleeve": BIT["upperBodyNoSleeve"],
            },
            allow_none=True,
            aliases=("sleeves",),
            state_aliases={
                "long-sleeve": ("long", "long-sleeves"),
                "short-sleeve": ("short", "short-sleeves"),
                "no-sleeve": ("sleeveless",),
            },
        ),
        exclusive(
            "upper-style",
            {"casual-upper": BIT["upperBodyCasual"], "formal-upper": BIT["upperBodyFormal"]},
            allow_none=True,
            state_aliases={"casual-upper": ("casual",), "formal-upper": ("formal",)},
        ),
        exclusive(
            "lower-style",
            {"casual-lower": BIT["lowerBodyCasual"], "formal-lower": BIT["lowerBodyFormal"]},
            allow_none=True,
            state_aliases={"casual-lower": ("casual",), "formal-lower": ("formal",)},
        ),
        _colours("upper", "upperBody", ("upper", "top", "upper-color")),
        _colours("lower", "lowerBody", ("lower", "bottom", "lower-color")),
        _colours("hair", "hair", ("hair-color",)),
        _colours("footwear", "footwear", ("footwear", "shoe-colour", "shoe-color")),
        _present("backpack", "carryingBackpack", "rucksack"),
        _present("messenger-bag", "carryingMessengerBag", "shoulder-bag"),
        _present("plastic-bag", "carryingPlasticBags", "plastic-bags"),
        _present("luggage", "carryingLuggageCase", "luggage-case"),
        _present("suitcase", "carryingSuitcase"),
        _present("shopping-trolley", "carryingShoppingTro"),
        _present("baby-buggy", "carryingBabyBuggy", "buggy", "stroller"),
        _present("folder", "carryingFolder"),
        _present("umbrella", "carryingUmbrella"),
        _present("carrying-other", "carryingOther"),
        binary("carrying-nothing", BIT["carryingNothing"], absent="carrying-something"),
        _present("hat", "accessoryHat", "cap"),
        _present("muffler", "accessoryMuffler", "scarf"),
        _present("sunglasses", "accessorySunglasses"),
        _present("headphone", "accessoryHeadphone", "headphones"),
        _present("hair-band", "accessoryHairBand"),
        binary("kerchief", BIT["accessoryKerchief"], sensitive=True),  # may tell religion
        binary("no-accessory", BIT["accessoryNothing"], absent="some-accessory"),
        _present("jacket", "upperBodyJacket"),
        _present("suit-upper", "upperBodySuit"),
        _present("sweater", "upperBodySweater"),
        _present("t-shirt", "upperBodyTshirt", "tshirt"),
        _present("other-upper", "upperBodyOther"),
        _present("v-neck", "upperBodyVNeck"),
        _present("logo", "upperBodyLogo"),
        _present("plaid-upper", "upperBodyPlaid"),
        _present("thin-stripes-upper", "upperBodyThinStripes"),
        _present("thick-stripes-upper", "upperBodyThickStripes"),
        _present("jeans", "lowerBodyJeans"),
        _present("trousers", "lowerBodyTrousers", "pants"),
        _present("shorts", "lowerBodyShorts"),
        _present("capri", "lowerBodyCapri"),
        _present("hot-pants", "lowerBodyHotPants"),
        _present("short-skirt", "lowerBodyShortSkirt"),
        _present("long-skirt", "lowerBodyLongSkirt"),
        _present("suit-lower", "lowerBodySuits"),
        _present("plaid-lower", "lowerBodyPlaid"),
        _present("thin-stripes-lower", "lowerBodyThinStripes"),
        _present("leather-shoes", "footwearLeatherShoes"),
        _present("sandals", "footwearSandals"),
        _present("shoes", "footwearShoes"),
        _present("sneakers", "footwearSneaker", "sneaker"),
        _present("boots", "footwearBoots"),
        _present("stockings", "footwearStocking", "stocking"),
    ),
)
