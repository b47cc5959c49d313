"""A description that is asked of each new image: the numbers that a search would give it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.encoding.encoders import AttributeEncoder
from sal_runtime.errors import ConfigError
from sal_runtime.gallery.items import COLOURLESS, YES, GalleryItem
from sal_runtime.matching.scoring import assess, match_scoring, query_information, query_vector
from sal_runtime.query.language import parse_query
from sal_runtime.query.words import asks_for_colour


class Question:
    """A description, prepared for one small matrix product with each image. Safe to use from many threads.

    Args:
        description: in the query language.
        bundle: calibrated; it made the vectors of the images.
        encoder: of that bundle.

    Raises:
        SchemaError: the description is empty, unknown to the schema, or contradicts itself.
        ConfigError: the bundle is not calibrated.
    """

    def __init__(self, description: str, bundle: Bundle, encoder: AttributeEncoder) -> None:
        if bundle.calibration is None:
            raise ConfigError(
                f"bundle {bundle.name} is not calibrated, so nothing is known of the likelihood, and a watch cannot "
                "fire; export the bundle with its data set",
                parameter="gallery",
            )
        self._bundle, self._calibration = bundle, bundle.calibration
        self._query = parse_query(description, bundle.schema)
        self._vector = query_vector(self._query, bundle.statistics, encoder.encode)
        self._scoring = match_scoring(bundle, self._query, self._vector)
        self._asks_for_colour = asks_for_colour(self._query, bundle.schema)
        self._information = query_information(self._query, bundle.statistics)
        self._terms = [term.text for term in self._query.terms]

    def applies_to(self, item: GalleryItem) -> bool:
        """Whether the description can be asked of an image: one that names a colour cannot, of one without colours."""
        return not (self._asks_for_colour and item.metadata.get(COLOURLESS) == YES)

    def answers(
        self, items: Sequence[GalleryItem], vectors: Float32Array, min_likelihood: float
    ) -> dict[int, tuple[float, dict[str, float]]]:
        """Likelihood and evidence, as `PersonSearch.ask` gives them, of the images that fit, by their rows.

        Args:
            items: n of them.
            vectors: their unit vectors, float32 `[n, d]`.
            min_likelihood: at which an image fits, 0..1.
        """
        scores = self._scoring.score(vectors @ self._scoring.directions.T)
        # nearly all images end here: what else a search tells takes twenty times as long
        likelihoods = self._calibration.likelihood(scores, len(self._query.terms), self._information)
        rows = [row for row in np.flatnonzero(likelihoods >= min_likelihood).tolist() if self.applies_to(items[row])]
        if not rows:
            return {}
        assessed = assess(self._bundle, self._query, self._vector, scores[rows], vectors[rows])
        assert assessed.likelihood is not None
        return {
            row: (float(likelihood), dict(zip(self._terms, map(float, evidence), strict=True)))
            for row, likelihood, evidence in zip(rows, assessed.likelihood, assessed.evidence, strict=True)
        }
