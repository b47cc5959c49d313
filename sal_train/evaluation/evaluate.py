"""`sal eval`: the numbers of a run or a bundle on the test split, as one JSON-serialisable report.

The gallery is encoded once; every number is computed from its embeddings and logits.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from sal_runtime.arrays import Precision
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.bundle.calibration import Calibration
from sal_runtime.doctor.machine import command_line, versions
from sal_runtime.errors import ConfigError, InputError
from sal_runtime.matching.scoring import NUM_COMPLETIONS
from sal_train.checkpoint import load_run, write_text
from sal_train.datasets.splits import SearchDataset
from sal_train.datasets.street import in_words_of
from sal_train.evaluation.calibrate import TOP_HITS, calibrate, count_pairs
from sal_train.evaluation.full_queries import full_queries, rank_by_match, rankings_at_test_time
from sal_train.evaluation.operating_points import OperatingPoints
from sal_train.evaluation.partial_queries import (
    NUM_GIVEN,
    AnsweredQuery,
    answers,
    make_partial_queries,
    summarise_rules,
)
from sal_train.evaluation.protocol import Protocol, protocol_of_held_out, protocol_of_test_split
from sal_train.evaluation.reliability import Reliability
from sal_train.evaluation.report import print_report
from sal_train.evaluation.subject import LabelledEmbeddings, Subject, bundle_subject, encode_labelled, run_subject


@dataclass(frozen=True)
class Options:
    """What to measure, and on which device.

    Attributes:
        cache_dir: of decoded images.
        device: `cpu` or `cuda`; for a bundle also `trt`, or `auto` for the best available.
        partial: measure partial queries and the calibration, too.
        held_out: search the training categories that the run held out, instead of the test split, and compare the
            aggregations of the marginalised rule. Such choices are made on these categories.
        test_time: also measure rankings that cost more; they encode every image twice.
        precision: of a bundle's image encoder.
        seed: of the partial queries.
    """

    cache_dir: Path
    device: str = "cpu"
    partial: bool = True
    held_out: bool = False
    test_time: bool = False
    precision: Precision = "fp32"
    seed: int = 0


def evaluate_and_print(
    bundle: Path | None,
    run: Path | None,
    dataset: SearchDataset,
    options: Options,
    out: Path | None,
    screen: Console | None,
    steps: Console,
) -> dict[str, Any]:
    """Measure a bundle or a run, print tables (or JSON), write the JSON to `out` if that is given.

    Args:
        bundle: the bundle to measure.
        run: the folder of the training run to measure.
        dataset: whose images are searched.
        options: what to measure.
        out: the JSON file to write, if any.
        screen: for tables; None prints JSON on stdout instead.
        steps: for progress; standard error.

    Returns:
        The report.

    Raises:
        ConfigError: not exactly one of `bundle` and `run` is given.
    """
    if bundle is not None and run is None:
        report = evaluate_bundle(bundle, dataset, options, steps)
    elif run is not None and bundle is None:
        report = evaluate_run(run, dataset, options, steps)
    else:
        number = "neither" if bundle is None else "both"
        raise ConfigError(f"got {number} of bundle and run; name the one to measure", parameter="bundle")
    document = json.dumps(report, indent=2, allow_nan=False)
    if out is not None:
        write_text(out, document + "\n")
    if screen is None:
        print(document)
    else:
        print_report(report, screen)
    return report


def evaluate_run(run_dir: Path, dataset: SearchDataset, options: Options, console: Console) -> dict[str, Any]:
    """Measure a training run, computed by PyTorch.

    A run has no calibration; with `options.partial` one is fitted, as for the bundle of the run.

    Raises:
        InputError: it is not a run, has another schema, or held nothing out although `options.held_out` is set.
        ConfigError: partial queries are asked of a run that compares pairs by a network.
        BackendError: the device is unavailable.
    """
    run = load_run(run_dir)
    subject = run_subject(run, options.device)
    if subject.compare is not None and (options.partial or options.test_time):
        raise ConfigError(
            f"{run_dir} compares pairs by a network (model.system {run.config.model.system}): it answers full queries "
            "only; leave partial and test_time out",
            parameter="partial",
        )
    dataset = _in_words_of(subject, dataset)
    protocol = protocol_of_held_out(run, dataset) if options.held_out else protocol_of_test_split(dataset)
    fitted = None
    if options.partial and not options.held_out:
        fitted = calibrate(subject, dataset, run.config.data, run.config.run.seed, options.cache_dir, console)
    return evaluate(subject, protocol, options, console, fitted)


def evaluate_bundle(path: Path, dataset: SearchDataset, options: Options, console: Console) -> dict[str, Any]:
    """Measure a bundle: its exported encoders, computed by ONNX Runtime.

    Raises:
        BundleError: the bundle is incomplete or altered.
        ConfigError: `options.held_out` is set; a bundle does not record the held-out categories.
        InputError: the bundle has another schema.
        BackendError: the device or the precision is unavailable.
    """
    if options.held_out:
        raise ConfigError(
            "held-out categories can be searched for a run only: a bundle does not record what its training held out; "
            "measure the run",
            parameter="held_out",
        )
    bundle = open_bundle(path)
    subject = bundle_subject(bundle, options.device, options.precision)
    dataset = _in_words_of(subject, dataset)
    return evaluate(subject, protocol_of_test_split(dataset), options, console, bundle.manifest["calibration"])


def _in_words_of(subject: Subject, dataset: SearchDataset) -> SearchDataset:
    """The data set in the words of the subject, which may know more than the data set labels."""
    dataset = in_words_of(dataset, subject.schema)
    got, expected = subject.schema.bit_names, dataset.schema.bit_names
    if got != expected:
        raise InputError(
            f"{subject.identity['path']} has the schema {subject.schema.name!r} ({len(got)} attributes), the data set "
            f"{dataset.schema.name!r} ({len(expected)}); evaluate on the data that it was trained on"
        )
    return dataset


def evaluate(
    subject: Subject, protocol: Protocol, options: Options, console: Console, calibration: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Measure a subject on a protocol.

    Args:
        subject: a run or a bundle.
        protocol: images and queries.
        options: what to measure.
        console: for progress; standard error.
        calibration: fitted likelihood of match, or None to leave it out.

    Returns:
        The report: metrics of full queries at the top level (`RetrievalMetrics.to_json`), the rest under keys of their
        own: `centred`, `attribute_likelihood`, `match`, `recognition`, `test_time`, `partial`, `record`.
    """
    started = time.monotonic()
    images = encode_labelled(subject, protocol.image_paths, protocol.labels, options.cache_dir, console)
    mirrored = None
    if options.test_time:
        paths, labels = protocol.image_paths, protocol.labels
        mirrored = encode_labelled(subject, paths, labels, options.cache_dir, console, mirrored=True)
    encoded = time.monotonic()
    report = full_queries(subject, images, protocol, options.seed)
    fitted = None if calibration is None else Calibration.from_json(calibration, subject.schema.num_bits)
    if fitted is not None:
        report["match"] = rank_by_match(subject, images, protocol, fitted, options.seed)
    if mirrored is not None:
        report["test_time"] = rankings_at_test_time(subject, images, mirrored, protocol, options.seed)
    if options.partial:
        report["partial"] = partial_queries(subject, images, protocol, options, console, calibration)
    report["record"] = {
        "subject": subject.identity,
        "data": {
            "name": protocol.name,
            "num_images": len(protocol.image_paths),
            "num_queries": len(protocol.seen),
            "num_seen": int(protocol.seen.sum()),
        },
        "seed": options.seed,
        "device": subject.identity.get("device", options.device),
        "seconds": {
            "encoding_images": round(encoded - started, 1),
            "everything": round(time.monotonic() - started, 1),
        },
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": command_line(["sal", *sys.argv[1:]]),
        "versions": versions(),
    }
    return report


def partial_queries(
    subject: Subject,
    images: LabelledEmbeddings,
    protocol: Protocol,
    options: Options,
    console: Console,
    calibration: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Metrics of every scoring rule by the number of given attributes, and the reliability of the likelihood.

    With several data sets, `calibration_by_source` has the reliability for the queries of each.
    """
    fitted = None if calibration is None else Calibration.from_json(calibration, subject.schema.num_bits)
    counts = []
    everything, points = Reliabilities(), OperatingPoints()
    by_source = [Reliabilities() for _ in protocol.source_names]
    for given in NUM_GIVEN:
        queries = make_partial_queries(subject.schema, protocol.queries, given, options.seed)
        if not queries:
            continue
        answered = answers(subject, images, queries, console, fitted, variants=options.held_out)
        if fitted is not None:
            counted = [
                [everything, *([by_source[query.source]] if query.source is not None else [])] for query in queries
            ]
            answered = (_counted(*pair, fitted, points) for pair in zip(answered, counted, strict=True))
        counts.append({"given": given or "all"} | summarise_rules(answered, len(images.logits)))
    result: dict[str, Any] = {
        "completions": NUM_COMPLETIONS,
        "by_number_given": counts,
    }
    if fitted is not None:
        result["calibration"] = {"fit": calibration} | everything.to_json()
        result["operating_points"] = points.to_json()
        if by_source:
            parts = zip(protocol.source_names, by_source, strict=True)
            result["calibration_by_source"] = {name: part.to_json() for name, part in parts}
    return result


@dataclass
class Reliabilities:
    """The reliability of the likelihood over all pairs of query and image, and over the first hits of each query."""

    all_pairs: Reliability = field(default_factory=Reliability)
    top: Reliability = field(default_factory=Reliability)

    def to_json(self) -> dict[str, Any]:
        """Both, by their names in the report."""
        return {"all_pairs": self.all_pairs.to_json(), f"top{TOP_HITS}": self.top.to_json()}


def _counted(
    query: AnsweredQuery, counted: Sequence[Reliabilities], fitted: Calibration, points: OperatingPoints
) -> AnsweredQuery:
    """The query itself, after its pairs have been counted."""
    for reliabilities in counted:
        likelihood = count_pairs(fitted, query, reliabilities.all_pairs, reliabilities.top)
    points.add(likelihood, query.relevant)
    return query
