"""What a watch knows of an image is what a search tells of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import AttributeEncoder
from sal_runtime.errors import ConfigError, SchemaError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import COLOURLESS, YES, GalleryItem
from sal_runtime.matching.person_search import PersonSearch
from sal_service.watches.question import Question
from tests.runtime.made_up_items import unit_vectors
from tests.runtime.tiny_bundle import make_tiny_bundle

SHIPPED = Path(__file__).parents[3] / "bundles" / "edge"
TINY = ["hat", "!hat", "male,backpack,!hat", "upper=red|blue", "female,lower=blue,!backpack", "hat|lower=red,male"]
EDGE = [
    "male,backpack",
    "!hat",
    "man in a red jacket with a backpack",
    "upper=red|blue,female",
    "woman in black trousers, no bag",
    "short-hair|hat",
]
NUM_IMAGES = 400


@pytest.mark.parametrize("name", ["tiny", "shipped"])
def test_likelihood_and_evidence_are_those_of_a_search(name: str, bundle: Bundle, tmp_path: Path) -> None:
    """For each of 400 images and six descriptions, one by one and all together, with and without colours."""
    bundle, descriptions = (bundle, TINY) if name == "tiny" else (open_bundle(SHIPPED), EDGE)
    vectors = unit_vectors(NUM_IMAGES, bundle.embedding_dim, seed=11)
    items = [
        GalleryItem(f"{row}.jpg", metadata={COLOURLESS: (YES, "no")[row % 2]} if row % 3 == 0 else {})
        for row in range(NUM_IMAGES)
    ]
    encoder = AttributeEncoder(bundle)
    with Gallery.create(tmp_path / "yard.sal", bundle) as gallery:
        gallery.add(items, vectors)
        search = PersonSearch(bundle, gallery)
        for description in descriptions:
            question = Question(description, bundle, encoder)
            hits = {int(hit.uri[:-4]): hit for hit in search.ask(description, NUM_IMAGES)}
            together = question.answers(items, vectors, 0.0)
            assert together.keys() == hits.keys()
            for row, hit in hits.items():
                ((likelihood, evidence),) = question.answers([items[row]], vectors[row : row + 1], 0.0).values()
                for told, terms in ((likelihood, evidence), together[row]):
                    assert told == pytest.approx(hit.likelihood, abs=2e-6)
                    assert terms == pytest.approx(hit.evidence, abs=2e-6)
            for at in (0.1, 0.5, 0.9):
                assert question.answers(items, vectors, at) == {
                    row: (told, pytest.approx(terms, abs=2e-6)) for row, (told, terms) in together.items() if told >= at
                }


def test_no_colour_is_asked_of_an_image_without_colours(bundle: Bundle) -> None:
    grey = GalleryItem("a.jpg", metadata={COLOURLESS: YES})
    vectors = unit_vectors(1)
    encoder = AttributeEncoder(bundle)
    for description in ("upper=red", "!upper=red", "male,lower=blue", "hat|upper=red"):
        assert Question(description, bundle, encoder).answers([grey], vectors, 0.0) == {}
    assert len(Question("hat", bundle, encoder).answers([grey], vectors, 0.0)) == 1


def test_what_cannot_be_asked_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    encoder = AttributeEncoder(bundle)
    with pytest.raises(SchemaError, match="zebra"):
        Question("zebra", bundle, encoder)
    with pytest.raises(ConfigError, match="is not calibrated"):
        Question("hat", open_bundle(make_tiny_bundle(tmp_path / "plain")), encoder)
