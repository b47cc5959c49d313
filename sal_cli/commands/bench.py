"""The commands `sal bench ...`: how fast this machine encodes and ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sal_cli.completion import complete_device, complete_precision
from sal_cli.options import (
    COMPUTE,
    OUTPUT,
    JsonOption,
    ShippedBundleOption,
    check_precisions,
    check_words,
    refuse_options,
)
from sal_cli.parsing import CommandModule

OutOption = Annotated[
    Path | None, typer.Option("--out", rich_help_panel=OUTPUT, help="Also write the result to this file, as JSON.")
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", rich_help_panel=OUTPUT, help="Also draw the result into this .svg file.")
]
PrecisionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="fp32|fp16|int8",
        rich_help_panel=COMPUTE,
        autocompletion=complete_precision,
        help="Measure only image encoders in this precision; repeatable. Default: all in the bundle.",
    ),
]
DevicesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="cpu|cuda|trt",
        rich_help_panel=COMPUTE,
        autocompletion=complete_device,
        help="Measure on this device; repeatable. Default: all that work.",
    ),
]
BatchOption = Annotated[
    list[int] | None,
    typer.Option("--batch", min=1, help="Measure batches of this size; repeatable. Default: 1 8 16 32."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        rich_help_panel=COMPUTE,
        help="Compute each batch with this many threads on the CPU. Default: all cores.",
    ),
]
StreamsOption = Annotated[
    int,
    typer.Option(
        "--streams", min=1, rich_help_panel=COMPUTE, help="Run each encoder from this many threads at the same time."
    ),
]
SecondsOption = Annotated[
    float,
    typer.Option("--min-seconds", metavar="SECONDS", min=0, help="Time each row of the result at least this long."),
]
app = CommandModule(help="Measure how fast this machine encodes and ranks.")


@app.command(epilog="See also: docs/benchmarks.md, sal export --run RUN --out BUNDLE")
def engine(  # noqa: PLR0913 - one parameter is one option
    bundle: ShippedBundleOption = None,
    precision: PrecisionsOption = None,
    device: DevicesOption = None,
    batch: BatchOption = None,
    threads: ThreadsOption = None,
    streams: StreamsOption = 1,
    min_seconds: SecondsOption = 3.0,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Take PyTorch's weights from this run. Default: random weights, which are as fast."),
    ] = None,
    out: OutOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Measure latency and throughput of a bundle's encoders on every device, and of PyTorch where it is installed.

    The golden vectors are checked first; if an encoder does not reproduce them, nothing is measured. Encoders take
    turns in slices of half a second, so that a slow minute of the machine slows all of them:

    ```
    sal bench engine
    sal bench engine --bundle bundles/edge --device cpu --threads 2 \
        --out engine.json --plot engine.svg
    ```

    Each row takes `--min-seconds`; an estimate of the time that is left is shown while it measures.
    """
    import os
    from functools import partial

    from sal_cli.bench.eager import TORCH_DEVICES, eager_contenders
    from sal_cli.bench.engine import BATCH_SIZES, MEASURED_DEVICES, BenchOptions, bench_engine
    from sal_cli.bench.timing import TimingSettings
    from sal_cli.show.bench_engine import report_bench
    from sal_cli.show.bench_report import check_report
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    check_report(out, plot)
    check_words("--device", device, MEASURED_DEVICES)
    if device and "cpu" not in device:
        refuse_options({"--threads": threads}, "nothing is measured on the CPU; add --device cpu")
    if device and not set(device) & set(TORCH_DEVICES):
        refuse_options({"--run": run}, "PyTorch is measured on cpu and cuda; add one with --device")
    options = BenchOptions(
        precisions=check_precisions("--precision", precision) or None,
        devices=device,
        batch_sizes=batch or BATCH_SIZES,
        threads=threads or os.cpu_count() or 1,
        timing=TimingSettings(min_seconds=min_seconds, streams=streams),
    )
    opened = open_bundle(choose_bundle_path(bundle))
    with progress_bar("measuring", percent=True) as progress:
        bench = bench_engine(opened, options, partial(eager_contenders, run=run), progress)
    report_bench(bench, out, plot, as_json=as_json)


@app.command(epilog="See also: docs/encoding.md, sal bench engine")
def encode(
    bundle: ShippedBundleOption = None,
    precision: PrecisionsOption = None,
    device: Annotated[
        Literal["cpu", "cuda", "trt"], typer.Option("--device", rich_help_panel=COMPUTE, help="Encode on this device.")
    ] = "cpu",
    images: Annotated[int, typer.Option("--images", min=1, help="Encode this many images in a turn.")] = 1024,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Give each contender this many turns.")] = 9,
    out: OutOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Measure how fast images become embeddings, compared with a bare ONNX Runtime session.

    Images come from JPEG files, from boxes in frames, and from a folder that becomes a gallery file. The pipeline and
    the bare session must give the same embeddings, or nothing is measured:

    ```
    sal bench encode --bundle bundles/edge --images 2048 \
        --out encode.json --plot encode.svg
    ```
    """
    from sal_cli.bench.encode import EncodeBenchOptions, bench_encode
    from sal_cli.show.bench_encode import report_encode_bench
    from sal_cli.show.bench_report import check_report
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    check_report(out, plot)
    options = EncodeBenchOptions(check_precisions("--precision", precision) or None, device, images, rounds)
    with progress_bar("measuring", percent=True) as progress:
        bench = bench_encode(open_bundle(choose_bundle_path(bundle)), options, progress)
    report_encode_bench(bench, out, plot, as_json=as_json)


@app.command(epilog="See also: docs/ranking.md, sal search")
def search(  # noqa: PLR0913 - one parameter is one option
    items: Annotated[int, typer.Option("--items", min=1, help="Rank this many made-up vectors.")] = 1_000_000,
    dimension: Annotated[int, typer.Option("--dimension", min=1, help="Give each vector this many numbers.")] = 128,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="Ask for this many hits.")] = 10,
    queries: Annotated[
        list[int] | None,
        typer.Option("--queries", min=1, help="Rank this many queries together; repeatable. Default: 1 64."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same vectors.")] = 0,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Also build and measure the approximate index; takes minutes.")
    ] = False,
    min_seconds: SecondsOption = 3.0,
    out: OutOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Measure exact ranking, compared with reading the vectors, the bare matrix product, faiss and usearch.

    All exact contenders must give the same hits, or nothing is measured. The extra `bench` installs faiss and usearch:

    ```
    sal bench search --items 1000000 --out search.json --plot search.svg
    ```

    A million vectors take some minutes, and 2.5 GB of memory.
    """
    from sal_cli.bench.search import SearchOptions, bench_search
    from sal_cli.bench.timing import TimingSettings
    from sal_cli.show.bench_report import check_report
    from sal_cli.show.bench_search import report_search
    from sal_cli.show.terminal import progress_bar

    check_report(out, plot)
    timing = TimingSettings(min_seconds=min_seconds)
    options = SearchOptions(items, dimension, k, queries or (1, 64), seed, approximate, timing)
    with progress_bar("measuring", percent=True) as progress:
        bench = bench_search(options, progress)
    report_search(bench, out, plot, as_json=as_json)
