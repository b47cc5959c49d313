"""The answer to a description: hits with their reasons, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sal_runtime.errors import ConfigError
from sal_runtime.query.language import Term

if TYPE_CHECKING:
    from sal_runtime.engines.devices import DeviceChoice
    from sal_runtime.gallery.comparing import UpdateReport
    from sal_runtime.gallery.items import GalleryItem
    from sal_runtime.query.schema import AttributeSchema

UNLIKELY = 0.2
"""If no hit has this likelihood of match, the answer says that nothing is likely to match."""
SHOWN_HITS = 5
"""Hits in the short form of a result."""


@dataclass(frozen=True)
class AskedTerm:
    """One term of the query, for people.

    Attributes:
        text: the term in the query language, in full words.
        understood: the term as people read it.
        sensitive: whether it asks for a sensitive attribute, such as gender or age.
    """

    text: str
    understood: str
    sensitive: bool


@dataclass(frozen=True, repr=False)
class Hit:
    """One image of the answer.

    Attributes:
        rank: place in the answer, from 1.
        item: the image as the gallery knows it.
        path: where the image should be; it may be gone.
        score: similarity of image and description in the common space, -1..1.
        likelihood: calibrated likelihood that the image matches the whole description, 0..1; None if the bundle holds
            no calibration.
        evidence: probability 0..1 that each asked term holds, by the text of the term.
    """

    rank: int
    item: GalleryItem
    path: Path
    score: float
    likelihood: float | None
    evidence: dict[str, float]

    def __repr__(self) -> str:
        """Rank, name, score and likelihood; short, for a console."""
        likelihood = "" if self.likelihood is None else f", likelihood={self.likelihood:.2f}"
        return f"Hit({self.rank}, {self.uri!r}, score={self.score:.3f}{likelihood})"

    @property
    def uri(self) -> str:
        """Name of the image in its gallery."""
        return self.item.uri

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form; what is not known of the image is left out."""
        known: dict[str, Any] = {
            "camera": self.item.camera,
            "captured_at": self.item.captured_at,
            "track": self.item.track,
        }
        known |= {"box": self.item.box, "metadata": dict(self.item.metadata) or None}
        return {
            "rank": self.rank,
            "uri": self.uri,
            "path": str(self.path),
            "score": self.score,
            "likelihood": self.likelihood,
            "evidence": self.evidence,
            **{name: value for name, value in known.items() if value is not None},
        }


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The answer to a query. Iterating over it gives the hits, best first; `len` counts them.

    Attributes:
        query: the description as it was written.
        terms: the terms of the description.
        hits: best first.
        num_items: images in the gallery.
        gallery: the gallery file, or the address of the gallery.
        bundle_name: name of the bundle that encoded images and query.
        bundle_fingerprint: identifies that bundle.
        conditions: what images had to fulfil to be ranked, in words.
        notes: why the answer deserves less trust: weak words, a colour whose garment was not named, no likely hit.
        encoding: the outcome of bringing the gallery up to date first; None where nothing was to be encoded.
    """

    query: str
    terms: tuple[AskedTerm, ...]
    hits: tuple[Hit, ...]
    num_items: int
    gallery: str
    bundle_name: str
    bundle_fingerprint: str
    conditions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    encoding: UpdateReport | None = None

    def __len__(self) -> int:
        """Number of hits."""
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        """The hits, best first."""
        return iter(self.hits)

    def __repr__(self) -> str:
        """The query and the first hits; short, for a console or a notebook."""
        shown = [f"  {hit!r}" for hit in self.hits[:SHOWN_HITS]]
        more = [f"  ... {len(self) - SHOWN_HITS} more"] if len(self) > SHOWN_HITS else []
        return "\n".join([f"SearchResult({self.query!r}: {len(self)} hits of {self.num_items} images)", *shown, *more])

    @property
    def num_encoded(self) -> int:
        """Images that had to be encoded for it."""
        return 0 if self.encoding is None else self.encoding.added + self.encoding.changed

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """(path, reason) of each image that could not be searched."""
        return () if self.encoding is None else self.encoding.failed

    @property
    def device(self) -> DeviceChoice | None:
        """Where images were encoded for it, and why there; None if none had to be."""
        return None if self.encoding is None else self.encoding.device

    def likely(self, minimum: float) -> SearchResult:
        """The same answer without hits whose likelihood of match, 0..1, is below `minimum`.

        Raises:
            ConfigError: the bundle is not calibrated, so nothing is known of the likelihood.
        """
        kept = []
        for hit in self.hits:
            if hit.likelihood is None:
                raise ConfigError(
                    f"bundle {self.bundle_name} is not calibrated, so nothing is known of the likelihood; ask for no "
                    "minimum, or export the bundle with its data set",
                    parameter="min_likelihood",
                )
            if hit.likelihood >= minimum:
                kept.append(hit)
        condition = f"of the best {len(self.hits)} those with a likelihood of match of {minimum:.0%} or more"
        return replace(self, hits=tuple(kept), conditions=(*self.conditions, condition))

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form; probabilities and likelihoods are fractions."""
        return {
            "query": {"text": self.query, "terms": [vars(term) for term in self.terms], "conditions": self.conditions},
            "gallery": {"path": self.gallery, "items": self.num_items, "encoded_now": self.num_encoded},
            "bundle": {"name": self.bundle_name, "fingerprint": self.bundle_fingerprint},
            "notes": list(self.notes),
            "device": None if self.device is None else vars(self.device),
            "hits": [hit.to_json() for hit in self.hits],
            "failed": [{"path": path, "reason": reason} for path, reason in self.failed],
        }


def asked_term(term: Term, schema: AttributeSchema) -> AskedTerm:
    """A term of a query in the words of the schema."""
    alternatives = []
    for group_number, states in term.states:
        group = schema.groups[group_number]
        words = " or ".join(group.states[state].name for state in sorted(states))
        alternatives.append(words if group.kind == "binary" else f"{group.name} {words}")
    sensitive = any(schema.groups[group].sensitive for group, _ in term.states)
    return AskedTerm(term.text, ("not " if term.negated else "") + " or ".join(alternatives), sensitive)


def unlikely_note(hits: Sequence[Hit]) -> tuple[str, ...]:
    """A note if the likelihoods of match are known and all are low, else nothing."""
    best = max((hit.likelihood for hit in hits if hit.likelihood is not None), default=1.0)
    return (f"no hit is likely to match: the best likelihood is {int(100 * best)}%",) if best < UNLIKELY else ()
