"""Measures a finished run on what it held out, and writes the report beside it."""

from __future__ import annotations

import shlex
from pathlib import Path

from sal_train.checkpoint import Run, load_finished_run, write_text
from sal_train.datasets.splits import SearchDataset
from sal_train.evaluation.verdict import search_verdict
from sal_train.report.measure import history, measure_held_out
from sal_train.report.page import render_report

REPORT_FILE = "report.html"


def write_report(out: Path, dataset: SearchDataset, cache_dir: Path, device: str = "cpu") -> str:
    """Write `report.html` into the folder of a run; it appears when it is whole.

    Args:
        out: folder of a finished run.
        dataset: that it was trained on.
        cache_dir: of decoded images.
        device: `cpu` or `cuda`; computes the held-out images.

    Returns:
        The verdict, one sentence.

    Raises:
        InputError: the run is not finished.
        BackendError: the device is unavailable.
        OSError: the report cannot be written.
    """
    run = load_finished_run(out)
    held_out = measure_held_out(run, dataset, cache_dir, device)
    write_text(out / REPORT_FILE, render_report(run, history(out), held_out, next_commands(run, dataset)))
    return "not measured: no categories were held out" if held_out is None else search_verdict(held_out.metrics)


def next_commands(run: Run, dataset: SearchDataset) -> list[tuple[str, str]]:
    """What to do with a run: what a command is for, and the command."""
    bundle = f"{run.path.resolve().name}.bundle"
    source = dataset.source or {"dataset": dataset.name}
    data = " ".join(f"--{option} {shlex.quote(value)}" for option, value in source.items())
    quoted = shlex.quote(str(run.path))
    return [
        ("Measure it on the test split, once its settings are chosen:", f"sal eval --run {quoted} {data}"),
        ("Make a bundle, which searches without PyTorch:", f"sal export --run {quoted} --out {bundle} {data}"),
        ("Search a folder of crops with it:", f"sal search --bundle {bundle} --gallery FOLDER --attrs {_example(run)}"),
        ("Look at what training learned from:", f"sal data check {data}"),
    ]


def _example(run: Run) -> str:
    """A word that can be asked for: that of the most frequent attribute."""
    counts = run.category_counts @ run.category_vectors
    return run.schema.bit_names[int(counts.argmax())]
