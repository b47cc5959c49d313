"""The command `sal train`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sal_cli.completion import complete_dataset, complete_recipe, complete_training_device
from sal_cli.hints import error_line
from sal_cli.options import (
    COMPUTE,
    CacheOption,
    DataOption,
    cache_or_default,
    dataset_from,
    let_waiting_threads_sleep,
)
from sal_cli.parsing import CommandModule
from sal_runtime.errors import ConfigError

if TYPE_CHECKING:
    from sal_train.config import Config
    from sal_train.datasets.splits import SearchDataset

app = CommandModule()


OwnDatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="DATASET",
        autocompletion=complete_dataset,
        help="Train on market1501, peta, pa100k, street (the first two), or your own folder or table. "
        "Default: that of the run, with --resume.",
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        autocompletion=complete_recipe,
        help="Train by auto, sal, accurate, edge, paper, tiny, a system such as dcca, or a .toml file. Default: auto "
        "for your own data, sal for published data, that of the run with --resume.",
    ),
]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; repeatable.")
]
TrainDeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="cpu|cuda|cuda:N|auto",
        rich_help_panel=COMPUTE,
        autocompletion=complete_training_device,
        help="Train on this device. Default: the recipe's, which is auto.",
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume", help="Continue an interrupted run as it was started; the result is as if it had run through."
    ),
]


@app.command(epilog="See also: sal eval --run RUN, sal export --run RUN, tensorboard --logdir RUN")
def train(  # noqa: PLR0913 - one parameter is one option
    out: Annotated[Path, typer.Option("--out", help="The folder of the run, new unless you resume.")],
    dataset: OwnDatasetOption = None,
    data: DataOption = None,
    recipe: RecipeOption = None,
    settings: SettingsOption = None,
    device: TrainDeviceOption = None,
    resume: ResumeOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe; write nothing.")] = False,
    cache: CacheOption = None,
) -> None:
    r"""Train the encoders on images with attributes.

    The recipe `auto` chooses by the number of training images and by the machine, and says what it chose:

    ```
    sal train --dataset my-crops/ --out runs/mine
    ```

    The recipe `sal` is the default for published data; `paper` is the method as published. Recipes run on a CPU, a GPU,
    or several GPUs:

    ```
    sal train --dataset peta --data DATA --out runs/peta \
        --set model.backbone=efficientnet_lite0
    torchrun --nproc-per-node=4 -m sal_cli train \
        --dataset market1501 --data DATA --out runs/market
    ```

    Ctrl-C keeps the epochs that are done; `sal train --resume --out RUN` goes on. At the end, RUN/report.html says how
    good the model is.
    """
    let_waiting_threads_sleep()
    from sal_train.checkpoint import MODEL_FILE, run_to_resume
    from sal_train.recipe import config_to_toml
    from sal_train.train import train as train_model

    if resume:
        run_recipe, source = run_to_resume(out)
        recipe = recipe or str(run_recipe)
        if dataset is None:
            dataset, data = source.get("dataset"), data or (Path(source["data"]) if "data" in source else None)
    if dataset is None:
        raise ConfigError("no data set is named; name the one to train on", parameter="dataset")
    loaded = dataset_from(dataset, data)
    config = _resolved(recipe, loaded, settings or (), device)
    if dry_run:
        print(config_to_toml(config))
        return
    try:
        train_model(config, loaded, out, cache_or_default(cache), resume=resume)
    except KeyboardInterrupt:
        print(f"sal: {_after_interrupt(out, config.epochs, {'--device': device, '--cache': cache})}", file=sys.stderr)
        raise
    _report(out, loaded, cache_or_default(cache), config.run.device)
    print(out / MODEL_FILE)


def _report(out: Path, dataset: SearchDataset, cache: Path, device: str) -> None:
    """Write the report and print its verdict; a model without a report is still a model."""
    import torch

    from sal_train.report.write import REPORT_FILE, write_report

    if not _is_first_process():
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    try:
        verdict = write_report(out, dataset, cache, "cuda" if on_gpu else "cpu")
    except Exception as error:
        print(f"sal: the report could not be written: {error_line(error)}; the model is whole", file=sys.stderr)
    else:
        print(f"{verdict}\nreport: {out / REPORT_FILE}", file=sys.stderr)


def _resolved(recipe: str | None, dataset: SearchDataset, settings: Sequence[str], device: str | None) -> Config:
    """The settings of the run; says on stderr what `auto` chose."""
    from sal_train.datasets.load import PUBLISHED
    from sal_train.recipe import load_config
    from sal_train.recipes.automatic import choose_recipe

    given = [*settings, *([f'run.device="{device}"'] if device is not None else ())]
    name = recipe or ("sal" if dataset.source["dataset"] in PUBLISHED else "auto")
    if name != "auto":
        return load_config(name, given)
    choice = choose_recipe(dataset, load_config("edge", given).run.device)
    if _is_first_process():
        settings_line = f"\n  {', '.join(choice.settings)}" if choice.settings else ""
        print(f"recipe: {choice.recipe} (auto), for {choice.why}{settings_line}\n  {choice.needs}", file=sys.stderr)
    return load_config(choice.recipe, [*choice.settings, *given])


def _is_first_process() -> bool:
    """Whether this process speaks for all those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _after_interrupt(out: Path, epochs: int, given: Mapping[str, object]) -> str:
    """How far an interrupted run came, and the command that continues it."""
    from sal_train.checkpoint import CHECKPOINT_FILE, CONFIG_FILE, read_position

    if not (out / CONFIG_FILE).is_file():
        return "stopped before the first checkpoint; start again with the same command"
    done = read_position(out / CHECKPOINT_FILE).total_epochs if (out / CHECKPOINT_FILE).is_file() else 0
    words = ["sal", "train", "--resume", "--out", str(out)]
    words += [word for option, value in given.items() if value is not None for word in (option, str(value))]
    return f"stopped; {done} of {epochs} epochs are kept. To continue: {shlex.join(words)}"
