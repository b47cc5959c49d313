"""The answer to a description: hits with their reasons, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sal_runtime.errors import ConfigError
from sal_runtime.query.language import Term
from sal_runtime.query.words import recognition

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
        recognised: by attribute, the share 0..1 of the test images that show it in which it is recognised; only what
            was measured.
    """

    text: str
    understood: str
    sensitive: bool
    recognised: Mapping[str, float] = field(default_factory=dict)


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
        others: the other hits of the same track, best first; in an answer by track only.
    """

    rank: int
    item: GalleryItem
    path: Path
    score: float
    likelihood: float | None
    evidence: dict[str, float]
    others: tuple[Hit, ...] = ()

    def __repr__(self) -> str:
        """Rank, name, likelihood and score; short, for a console."""
        likelihood = "" if self.likelihood is None else f"likelihood={self.likelihood:.2f}, "
        more = f", {len(self.others)} others" if self.others else ""
        return f"Hit({self.rank}, {self.uri!r}, {likelihood}score={self.score:.3f}{more})"

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
            "likelihood": self.likelihood,
            "score": self.score,
            "evidence": self.evidence,
            **{name: value for name, value in known.items() if value is not None},
            **({"others": [hit.to_json() for hit in self.others]} if self.others else {}),
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
        notes: why the answer deserves less trust: weak words, a colour whose garment was not named, images without
            colours that were left out because a colour was asked for, no likely hit.
        encoding: the outcome of bringing the gallery up to date first; None where nothing was to be encoded.
        licence: terms of the bundle's weights; None where they were not looked up.
        grouped: whether each hit stands for a track, with the other images of the track in its `others`.
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
    licence: str | None = None
    grouped: bool = False

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
    def passed_over(self) -> Mapping[str, int]:
        """Number of files in the folder that are no images by their names, by suffix."""
        return {} if self.encoding is None else self.encoding.passed_over

    @property
    def device(self) -> DeviceChoice | None:
        """Where images were encoded for it, and why there; None if none had to be."""
        return None if self.encoding is None else self.encoding.device

    def by_track(self) -> SearchResult:
        """The same answer with one hit for each track: its best image, with its other hits in `others`.

        A track belongs to one camera. An image without a track is one of its own. Ranks count tracks.
        """
        tracks: dict[object, list[Hit]] = {}
        for hit in self.hits:
            known = hit.item.uri if hit.item.track is None else (hit.item.camera, hit.item.track)
            tracks.setdefault(known, []).append(hit)
        ranked = [[replace(hit, rank=rank) for hit in hits] for rank, hits in enumerate(tracks.values(), 1)]
        return replace(self, hits=tuple(replace(best, others=tuple(others)) for best, *others in ranked), grouped=True)

    def likely(self, minimum: float) -> SearchResult:
        """The same answer without images whose likelihood of match, 0..1, is below `minimum`.

        Hits are in the order of their likelihoods, so an image that was not among the hits is not likelier than they.

        Raises:
            ConfigError: the bundle is not calibrated, so nothing is known of the likelihood.
        """
        if any(hit.likelihood is None for hit in self.hits):
            raise ConfigError(
                f"bundle {self.bundle_name} is not calibrated, so nothing is known of the likelihood; ask for no "
                "minimum, or export the bundle with its data set",
                parameter="min_likelihood",
            )
        kept = [replace(hit, others=_at_least(hit.others, minimum)) for hit in _at_least(self.hits, minimum)]
        condition = f"likelihood of match {minimum:.0%} or more"
        return replace(self, hits=tuple(kept), conditions=(*self.conditions, condition))

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form; probabilities and likelihoods are fractions."""
        return {
            "query": {"text": self.query, "terms": [vars(term) for term in self.terms], "conditions": self.conditions},
            "gallery": {"path": self.gallery, "items": self.num_items, "encoded_now": self.num_encoded},
            "passed_over": dict(self.passed_over),
            "grouped": self.grouped,
            "bundle": {"name": self.bundle_name, "fingerprint": self.bundle_fingerprint},
            "notes": list(self.notes),
            "device": None if self.device is None else vars(self.device),
            "hits": [hit.to_json() for hit in self.hits],
            "failed": [{"path": path, "reason": reason} for path, reason in self.failed],
        }


def _at_least(hits: Sequence[Hit], minimum: float) -> tuple[Hit, ...]:
    return tuple(hit for hit in hits if hit.likelihood is not None and hit.likelihood >= minimum)


def asked_term(term: Term, schema: AttributeSchema, metrics: Mapping[str, Any] | None = None) -> AskedTerm:
    """A term of a query in the words of the schema, with how well these are recognised by `manifest["metrics"]`."""
    alternatives = []
    for group_number, states in term.states:
        group = schema.groups[group_number]
        words = [group.states[state].name for state in sorted(states)]
        parts = set(group.name.split("-"))  # `long-hair` names its group, `bald` does not
        are_clear = all(parts & set(word.split("-")) and len(schema.words[word]) == 1 for word in words)
        alternatives.append(("" if group.kind == "binary" or are_clear else f"{group.name} ") + " or ".join(words))
    sensitive = any(schema.groups[group].sensitive for group, _ in term.states)
    understood = ("not " if term.negated else "") + " or ".join(alternatives)
    rates = {name: share for name, (share, _) in recognition(term, schema, metrics or {}).items()}
    return AskedTerm(term.text, understood, sensitive, rates)


def left_out_note(count: int) -> tuple[str, ...]:
    """A note on images without colours that a description with a colour left out, if there were any."""
    kind = "without colours (infrared, or black and white)"
    left_out = f"1 image {kind} was" if count == 1 else f"{count:,} images {kind} were"
    return (f"{left_out} left out; ask for no colour to search all images",) if count else ()


def unlikely_note(hits: Sequence[Hit]) -> tuple[str, ...]:
    """A note if the likelihoods of match are known and all are low, else nothing."""
    best = max((hit.likelihood for hit in hits if hit.likelihood is not None), default=1.0)
    return (f"no hit is likely to match: the best likelihood is {int(100 * best)}%",) if best < UNLIKELY else ()
