"""The command `sal train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import CacheOption, DataOption, DatasetOption, cache_or_default, dataset_from
from sal_cli.parsing import CommandModule

app = CommandModule()


@app.command(epilog="See also: sal eval --run RUN, sal export --run RUN, tensorboard --logdir RUN")
def train(
    dataset: DatasetOption,
    out: Annotated[Path, typer.Option("--out", help="The folder of the run, new unless you resume.")],
    data: DataOption = None,
    recipe: Annotated[str, typer.Option("--recipe", help="sal, edge, paper, deepmar, tiny, or a .toml file.")] = "sal",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; repeatable.")
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

    config = load_config(recipe, settings or [])
    if dry_run:
        print(config_to_toml(config))
        return
    train_model(config, dataset_from(dataset, data), out, cache_or_default(cache), resume=resume)
    print(out / MODEL_FILE)
