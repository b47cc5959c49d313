"""The command `sal train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import (
    CacheOption,
    DataOption,
    DatasetOption,
)

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="See also: sal eval --run RUN, sal export --run RUN, tensorboard --logdir RUN")
def train(
    dataset: DatasetOption,
    out: Annotated[Path, typer.Option("--out", help="The run's folder; --resume continues the one that is there.")],
    data: DataOption = Path(),
    recipe: Annotated[str, typer.Option("--recipe", help="sal, edge, paper, deepmar, tiny, or a .toml file.")] = "sal",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue after an interruption, exactly.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    cache: CacheOption = Path("~/.cache/sal"),
) -> None:
    """Train the encoders on images with attributes.

    The recipe `sal` is the default; `paper` is the method as published. Both run on a CPU, a GPU, or several GPUs:

        sal train --dataset peta --data DATA --out runs/peta --set model.backbone=efficientnet_lite0

        torchrun --nproc-per-node=4 -m sal_cli train --dataset market1501 --data DATA --out runs/market
    """
    from sal_train.checkpoint import MODEL_FILE
    from sal_train.datasets import load_dataset
    from sal_train.recipe import config_to_toml, load_config
    from sal_train.train import train as train_model

    config = load_config(recipe, settings or [])
    if dry_run:
        print(config_to_toml(config))
        return
    train_model(config, load_dataset(dataset, data), out, cache.expanduser(), resume=resume)
    print(out / MODEL_FILE)
