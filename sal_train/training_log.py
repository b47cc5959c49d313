"""The log of a training run: a progress bar, one line per epoch, metrics.jsonl and TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sal_train.checkpoint import METRICS_FILE, Position, write_text
from sal_train.config import Config
from sal_train.datasets.splits import SearchDataset, people_on_both_sides
from sal_train.evaluation.held_out import Partition

TENSORBOARD_FOLDER = "tensorboard"
ESTIMATE_AFTER = 10.0
"""Seconds of training after which the time of a whole run is estimated for the first time."""


BFLOAT16 = ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16")
"""Capabilities of CPUs that compute in bfloat16, under PyTorch's names; the last is Arm's."""


def print_start(
    console: Console, config: Config, dataset: SearchDataset, part: Partition, batches: int, device: torch.device
) -> None:
    """Say what will be trained on, and what a person should know about the data and the machine."""
    for note in dataset.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    shared = people_on_both_sides(dataset)
    if shared:
        console.print(
            f"warning: {len(shared)} people are in training and test alike, such as {shared[0]!r}; results on the test "
            "split will be too good",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if config.run.precision == "bf16" and device.type == "cpu" and not _computes_bfloat16():
        console.print(
            "warning: this CPU has no instructions for bfloat16 and emulates it, which takes some ten times as long as "
            "float32; stop, and start a new run with run.precision=fp32",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"{len(part.train):,} training images in {len(part.train_categories):,} categories; "
        f"{config.epochs} epochs of {batches:,} iterations",
        highlight=False,
    )


def _computes_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in BFLOAT16)


def duration(seconds: float) -> str:
    """A length of time for people: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class TrainingLog:
    """Context manager around a run.

    Args:
        out: run directory.
        config: gives the number of epochs.
        done: epochs that an interrupted run has finished; later lines of metrics.jsonl are dropped.
        console: on stderr.
        active: False in all processes but the first of a distributed run; the log is then silent.
    """

    def __init__(self, out: Path, config: Config, done: int, console: Console, active: bool) -> None:
        self.path = out / METRICS_FILE
        self.out = out
        self.config = config
        self.done = done
        self.console = console
        self.active = active
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not active or not console.is_terminal,
        )
        self.task = self.progress.add_task("train", epoch=f"{done + 1}/{config.epochs}")
        self.writer: Any = None
        self.epoch_started = self.first_iteration = 0.0
        self.iterations_timed = 0
        self.estimated = not active

    def __enter__(self) -> TrainingLog:
        if self.active:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.out / TENSORBOARD_FOLDER), purge_step=self.done + 1)
            if self.path.exists():
                lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
                write_text(self.path, "".join(line for line in lines if json.loads(line)["total_epochs"] <= self.done))
        self.progress.start()
        self.epoch_started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        if self.writer is not None:
            self.writer.close()

    def iteration(self, done: int, total: int) -> None:
        """Advance the progress bar to iteration `done` of `total`; once it is known, say how long the run will take."""
        self.progress.update(self.task, completed=done + 1, total=total)
        if self.estimated:
            return
        if self.iterations_timed == 0:  # the first iteration is slower, it prepares libraries and memory
            self.first_iteration = time.monotonic()
        elapsed = time.monotonic() - self.first_iteration
        if elapsed >= ESTIMATE_AFTER:
            seconds = elapsed / self.iterations_timed * (total * (self.config.epochs - self.done) - done - 1)
            self.console.print(f"about {duration(seconds)} to go, if every epoch is like this one", highlight=False)
            self.estimated = True
        self.iterations_timed += 1

    def epoch(self, at: Position, stage: str, terms: Mapping[str, float], metrics: Mapping[str, float]) -> None:
        """Record an epoch that has just ended."""
        record = {"stage_name": stage, **asdict(at), "losses": dict(terms), **metrics}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in {**{f"loss/{key}": value for key, value in terms.items()}, **metrics}.items():
            self.writer.add_scalar(name, value, at.total_epochs)
        scores = "".join(f"  {name.removeprefix('validation_')} {100 * value:.1f}" for name, value in metrics.items())
        now = time.monotonic()
        seconds, self.epoch_started = now - self.epoch_started, now
        self.estimated = True
        rate = f"{duration(seconds)}, about {duration(seconds * (self.config.epochs - at.total_epochs))} to go"
        if at.total_epochs == self.config.epochs:
            rate = duration(seconds)
        self.console.print(
            f"[dim]{stage}[/] {at.total_epochs}/{self.config.epochs}  loss {sum(terms.values()):.2f}"
            f"[bold]{scores}[/]  [dim]{rate}[/]",
            highlight=False,
        )
        self.progress.update(self.task, completed=0, epoch=f"{at.total_epochs + 1}/{self.config.epochs}")
