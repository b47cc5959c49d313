"""The commands `sal bench ...`: how fast a bundle is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import BundleOption, JsonOption

OutOption = Annotated[Path | None, typer.Option("--out", help="Also write the result as JSON.")]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="Draw the result as .svg.")]
app = typer.Typer(
    help="Measure how fast a bundle is on this machine.", no_args_is_help=True, pretty_exceptions_enable=False
)


@app.command(epilog="See also: docs/benchmarks.md, sal export --run RUN --out BUNDLE")
def engine(  # noqa: PLR0913 - one parameter is one option
    bundle: BundleOption = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", help="Only these image encoders; may be repeated. Default: all in the bundle."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="cpu, cuda, ...; may be repeated. Default: all that are there."),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Rows of a batch; may be repeated. Default: 1 8 16 32.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Of one run on the CPU. Default: all cores.")
    ] = None,
    streams: Annotated[int, typer.Option("--streams", min=1, help="Threads that use an encoder at a time.")] = 1,
    min_seconds: Annotated[float, typer.Option("--min-seconds", min=0, help="At least, of each row.")] = 3.0,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Weights for PyTorch; random ones, which are as fast, without it."),
    ] = None,
    out: OutOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency and throughput of a bundle's encoders on every device, beside PyTorch where it is installed.

    The golden vectors are checked first; if an encoder does not give them, nothing is measured. Contenders take turns
    in slices of half a second, so that a slow minute of the machine hits all alike:

        sal bench engine --bundle market.sal --device cpu --threads 2 --out engine.json --plot engine.svg
    """
    import os
    from functools import partial

    from sal_cli.bench.eager import eager_contenders
    from sal_cli.bench.engine import BATCH_SIZES, BenchOptions, bench_engine
    from sal_cli.bench.timing import TimingSettings
    from sal_cli.show.bench_engine import report_bench
    from sal_cli.show.bench_report import check_report
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    check_report(out, plot)
    options = BenchOptions(
        precisions=precision,
        devices=device,
        batch_sizes=batch or BATCH_SIZES,
        threads=threads or os.cpu_count() or 1,
        timing=TimingSettings(min_seconds=min_seconds, streams=streams),
    )
    opened = open_bundle(choose_bundle_path(bundle))
    with progress_bar("measuring") as progress:
        bench = bench_engine(opened, options, partial(eager_contenders, run=run), progress)
    report_bench(bench, out, plot, as_json=as_json)


@app.command(epilog="See also: docs/encoding.md, sal bench engine")
def encode(
    bundle: BundleOption = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", help="Only these image encoders; may be repeated. Default: all in the bundle."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or trt.")] = "cpu",
    images: Annotated[int, typer.Option("--images", min=1, help="Images in a turn.")] = 1024,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns of each contender.")] = 9,
    out: OutOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast images become embeddings, beside a bare ONNX Runtime session.

    From JPEG files, from boxes in frames, and from a folder into a gallery file. Before anything is measured, the
    pipeline and the bare session have to give the same embeddings:

        sal bench encode --bundle market.sal --images 2048 --out encode.json --plot encode.svg
    """
    from sal_cli.bench.encode import EncodeBenchOptions, bench_encode
    from sal_cli.show.bench_encode import report_encode_bench
    from sal_cli.show.bench_report import check_report
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    check_report(out, plot)
    options = EncodeBenchOptions(precision, device, images, rounds)
    with progress_bar("measuring") as progress:
        bench = bench_encode(open_bundle(choose_bundle_path(bundle)), options, progress)
    report_encode_bench(bench, out, plot, as_json=as_json)


@app.command(epilog="See also: docs/ranking.md, sal search")
def search(  # noqa: PLR0913 - one parameter is one option
    items: Annotated[int, typer.Option("--items", min=1, help="Vectors in the made-up gallery.")] = 1_000_000,
    dimension: Annotated[int, typer.Option("--dimension", min=1, help="Of the vectors.")] = 128,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="Hits wanted.")] = 10,
    queries: Annotated[
        list[int] | None, typer.Option("--queries", min=1, help="Ranked together; may be repeated. Default: 1 64.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the vectors.")] = 0,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Also build and measure the approximate index; takes minutes.")
    ] = False,
    min_seconds: Annotated[float, typer.Option("--min-seconds", min=0, help="At least, of each row.")] = 3.0,
    out: OutOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure exact ranking beside one read of the vectors, the bare matrix product, faiss and usearch.

    All give the same hits, or nothing is measured. faiss and usearch come with the extra `bench`:

        sal bench search --items 1000000 --out search.json --plot search.svg
    """
    from sal_cli.bench.search import SearchOptions, bench_search
    from sal_cli.bench.timing import TimingSettings
    from sal_cli.show.bench_report import check_report
    from sal_cli.show.bench_search import report_search
    from sal_cli.show.terminal import progress_bar

    check_report(out, plot)
    timing = TimingSettings(min_seconds=min_seconds)
    options = SearchOptions(items, dimension, k, queries or (1, 64), seed, approximate, timing)
    with progress_bar("measuring") as progress:
        bench = bench_search(options, progress)
    report_search(bench, out, plot, as_json=as_json)
