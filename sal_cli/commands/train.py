"""The command `sal train`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import CacheOption, DataOption, DatasetOption, cache_or_default, dataset_from
from sal_cli.parsing import CommandModule

app = CommandModule()


@app.command(epilog="See also: sal eval --run RUN, sal export --run RUN, tensorboard --logdir RUN")
def train(  # noqa: PLR0913 - one parameter is one option
    dataset: DatasetOption,
    out: Annotated[Path, typer.Option("--out", help="The folder of the run, new unless you resume.")],
    data: DataOption = None,
    recipe: Annotated[str, typer.Option("--recipe", help="sal, edge, paper, deepmar, tiny, or a .toml file.")] = "sal",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; repeatable.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:N or auto. Default: the recipe's, which is auto.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run; the result is as if it had run through.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe; read and write nothing else.")
    ] = False,
    cache: CacheOption = None,
) -> None:
    r"""Train the encoders on images with attributes.

    The recipe `sal` is the default; `paper` is the method as published. Recipes run on a CPU, a GPU, or several GPUs:

    ```
    sal train --dataset peta --data DATA --out runs/peta \
        --set model.backbone=efficientnet_lite0
    torchrun --nproc-per-node=4 -m sal_cli train \
        --dataset market1501 --data DATA --out runs/market
    ```
    """
    from sal_train.checkpoint import MODEL_FILE
    from sal_train.recipe import config_to_toml, load_config
    from sal_train.train import train as train_model

    config = load_config(recipe, [*(settings or ()), *([f'run.device="{device}"'] if device is not None else ())])
    if dry_run:
        print(config_to_toml(config))
        return
    try:
        train_model(config, dataset_from(dataset, data), out, cache_or_default(cache), resume=resume)
    except KeyboardInterrupt:
        given = {"--dataset": dataset, "--data": data, "--out": out, "--device": device, "--cache": cache}
        print(f"sal: {_after_interrupt(out, config.epochs, given)}", file=sys.stderr)
        raise
    print(out / MODEL_FILE)


def _after_interrupt(out: Path, epochs: int, given: Mapping[str, object]) -> str:
    """How far an interrupted run came, and the command that continues it."""
    from sal_train.checkpoint import CHECKPOINT_FILE, CONFIG_FILE, read_position

    if not (out / CONFIG_FILE).is_file():
        return "stopped before the first checkpoint; start again with the same command"
    done = read_position(out / CHECKPOINT_FILE).total_epochs if (out / CHECKPOINT_FILE).is_file() else 0
    words = ["sal", "train", "--resume", "--recipe", str(out / CONFIG_FILE)]
    words += [word for option, value in given.items() if value is not None for word in (option, str(value))]
    return f"stopped; {done} of {epochs} epochs are kept. To continue: {shlex.join(words)}"
