"""How often the gate of `sal export` passes an int8 encoder that truly loses 0, 1 or 3 points of mAP and of rank-1.

    python -m benchmarks.gate_error_rates --bundle bundles/edge --dataset market1501 --data DATA --name edge

The queries of the test split are answered in fp32 and in int8. The differences, query by query, are the noise of the
simulation: test splits of 40 to 484 queries are drawn from them with replacement, after their mean has been moved to
the true loss. A query loses its first hit with the probability that the true loss needs beyond the flips that were
observed, half of which count in each direction. `limits_alone` is the rule without a test of chance, which held for all
numbers of queries before.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.speed.measurement import RESULTS
from sal_cli.bench.record import now, result_document
from sal_export.gates.retrieval import (
    ENOUGH_QUERIES,
    MAX_LOSS,
    Loss,
    chance_of_loss,
    loss_of,
    measure_retrieval,
    refusals,
)
from sal_export.precisions.reduced_precision import retrieval_task
from sal_runtime.arrays import Float64Array
from sal_runtime.bundle.bundle import ATTRIBUTE_ROLE, IMAGE_ROLE, open_bundle
from sal_runtime.engines.devices import open_backend
from sal_runtime.files import cache_folder
from sal_train.datasets.load import load_dataset

QUERIES = (40, 100, 200, 484)
TRUE_LOSSES = (0.0, 0.01, 0.03)
DRAWS = 1_000


@dataclass(frozen=True)
class Noise:
    """What int8 changes on one test split.

    Attributes:
        precisions: losses of average precision, float64 `[Q]`, mean 0.
        flips: share of the queries that gain or lose a first hit.
    """

    precisions: Float64Array
    flips: float


def main() -> None:
    """Measure, simulate, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--name", required=True)
    options = parser.parse_args()
    started = now()
    loss, noise = measure(options.bundle, options.dataset, options.data, options.cache or cache_folder())
    rows = [
        {"queries": count, "true_loss": true_loss, **passes(noise, count, true_loss)}
        for count in QUERIES
        for true_loss in TRUE_LOSSES
    ]
    spread = float(noise.precisions.std(ddof=1))
    measured = {"loss": loss.to_json(), "deviation_of_precision_differences": spread, "flips": noise.flips}
    content = {"bundle": options.bundle.name, "dataset": options.dataset, "draws": DRAWS, **measured, "rows": rows}
    path = RESULTS / f"gate_error_rates_{options.name}.json"
    path.write_text(json.dumps(result_document("benchmarks.gate_error_rates", started, content), indent=2) + "\n")
    for row in rows:
        print(row)


def measure(path: Path, dataset: str, data: Path, cache: Path) -> tuple[Loss, Noise]:
    """Answer the queries of a test split in fp32 and in int8."""
    bundle = open_bundle(path)
    attribute_encoder = bundle.read_bytes(bundle.artefact(ATTRIBUTE_ROLE).file)
    task = retrieval_task(load_dataset(dataset, data), bundle.statistics, bundle.image_spec, attribute_encoder, cache)
    fp32, int8 = (bundle.artefact(IMAGE_ROLE, precision=precision) for precision in ("fp32", "int8"))
    before, after = (
        measure_retrieval(artefact.file, open_backend(bundle.read_bytes(artefact.file)).run, task, Console(stderr=True))
        for artefact in (fp32, int8)
    )
    loss = loss_of(before, after)
    differences = np.subtract(before.average_precisions, after.average_precisions)
    flips = (loss.lost_first_hits + loss.gained_first_hits) / loss.num_queries
    return loss, Noise(differences - differences.mean(), flips)


def passes(noise: Noise, count: int, true_loss: float) -> dict[str, float]:
    """Shares of `DRAWS` test splits of `count` queries on which int8 passes the gate, and the limits alone."""
    rng = np.random.default_rng((count, round(1000 * true_loss)))
    judged = [_drawn_loss(noise, count, true_loss, rng) for _ in range(DRAWS)]
    limit = MAX_LOSS["int8"]
    return {
        "gate": float(np.mean([not refusals(loss, "int8") for loss in judged])),
        "limits_alone": float(np.mean([max(loss.mAP, loss.rank1) <= limit for loss in judged])),
    }


def _drawn_loss(noise: Noise, count: int, true_loss: float, rng: np.random.Generator) -> Loss:
    precisions = true_loss + rng.choice(noise.precisions, count)
    gained, lost = noise.flips / 2, noise.flips / 2 + true_loss
    first = rng.choice([1, -1, 0], count, p=[lost, gained, 1 - lost - gained])
    tested = count < ENOUGH_QUERIES
    return Loss(
        mAP=float(precisions.mean()),
        rank1=float(first.mean()),
        mAP_chance=chance_of_loss(precisions) if tested else 0.0,
        rank1_chance=chance_of_loss(first) if tested else 0.0,
        lost_first_hits=int(np.sum(first > 0)),
        gained_first_hits=int(np.sum(first < 0)),
        num_queries=count,
    )


if __name__ == "__main__":
    main()
