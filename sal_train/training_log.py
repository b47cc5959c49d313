"""The log of a training run: a progress bar, one line per epoch, metrics.jsonl and TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sal_train.checkpoint import Position, write_text
from sal_train.config import Config

METRICS_FILE = "metrics.jsonl"


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

    def __enter__(self) -> TrainingLog:
        if self.active:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.done + 1)
            if self.path.exists():
                lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
                write_text(self.path, "".join(line for line in lines if json.loads(line)["total_epochs"] <= self.done))
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        if self.writer is not None:
            self.writer.close()

    def iteration(self, done: int, total: int) -> None:
        """Advance the progress bar to iteration `done` of `total`."""
        self.progress.update(self.task, completed=done + 1, total=total)

    def epoch(self, at: Position, stage: str, terms: Mapping[str, float], metrics: Mapping[str, float]) -> None:
        """Record an epoch that has just ended."""
        record = {"stage_name": stage, **asdict(at), "losses": dict(terms), **metrics}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in {**{f"loss/{key}": value for key, value in terms.items()}, **metrics}.items():
            self.writer.add_scalar(name, value, at.total_epochs)
        scores = "".join(f"  {name.removeprefix('validation_')} {100 * value:.1f}" for name, value in metrics.items())
        rate = f"{at.train_seconds / at.total_epochs:.0f} s/epoch"
        self.console.print(
            f"[dim]{stage}[/] {at.total_epochs}/{self.config.epochs}  loss {sum(terms.values()):.2f}"
            f"[bold]{scores}[/]  [dim]{rate}[/]",
            highlight=False,
        )
        self.progress.update(self.task, completed=0, epoch=f"{at.total_epochs + 1}/{self.config.epochs}")
