"""The commands `sal bundle ...`: look into a bundle, sign it, and hand it to other inference servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sal_cli.options import EXIT_FAILED, CapabilityOption, JsonOption, Precision

app = typer.Typer(
    help="Look into a bundle, sign it, hand it to other inference servers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ShownOption = Annotated[
    Path | None, typer.Option("--bundle", "-b", help="Trained encoders. Default: $SAL_BUNDLE, else the shipped ones.")
]
SignedOption = Annotated[Path, typer.Option("--bundle", "-b", help="The bundle, a directory.")]
MaxBatchOption = Annotated[int, typer.Option("--max-batch", min=1, max=1024, help="Most crops in one run.")]


@app.command(epilog="See also: the bundle's MODEL_CARD.md, docs/bundle.md")
def show(bundle: ShownOption = None, as_json: JsonOption = False) -> None:
    """Say what a bundle is: encoders, size, how they compared with PyTorch, test numbers, attributes, licence.

    sal bundle show --bundle bundles/edge
    """
    from sal_cli.show.bundle import print_summary
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    print_summary(open_bundle(choose_bundle_path(bundle)), as_json=as_json)


@app.command(epilog="See also: sal bundle verify --bundle BUNDLE --key public.pem")
def sign(
    bundle: SignedOption,
    key: Annotated[Path, typer.Option("--key", help="Private elliptic-curve key, PEM.")],
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle with your key, offline; whoever has your public key can tell that it is what you signed.

        sal bundle sign --bundle market.bundle --key private.pem

    The signature, OpenSSF Model Signing's model.sig, lies in the bundle and covers every other file. Writing the bundle
    anew (sal export, sal eval --attach) removes it: sign again. Needs the extra `sign`.
    """
    from sal_cli.show.terminal import print_json
    from sal_export.interop.signing import sign_bundle

    signature = sign_bundle(bundle, key)
    if as_json:
        print_json({"bundle": str(bundle), "signature": str(signature)})
    else:
        print(signature)


@app.command(epilog="See also: sal bundle sign --bundle BUNDLE --key private.pem")
def verify(
    bundle: SignedOption,
    key: Annotated[Path, typer.Option("--key", help="Public key of who signed it, PEM.")],
    as_json: JsonOption = False,
) -> None:
    """Check that a bundle is exactly what the owner of a key signed. Exit code 1 if not, or if it is not signed.

    sal bundle verify --bundle market.bundle --key public.pem
    """
    from sal_cli.show.gallery import print_problems
    from sal_export.interop.signing import verify_bundle

    problems = verify_bundle(bundle, key)
    print_problems(problems, as_json=as_json)
    if problems:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: docs/engines.md, sal search --device trt")
def engine(
    bundle: ShownOption = None,
    precision: Annotated[
        list[Precision] | None, typer.Option("--precision", help="May be repeated. Default: fp16.")
    ] = None,
    compute_capability: CapabilityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build TensorRT engines of the image encoder into the engine store, before they are needed.

        sal bundle engine --bundle market.bundle --precision fp16 --precision int8

    `--device trt` builds what is missing by itself; this command does it beforehand. An engine is for one TensorRT
    version and one kind of GPU. That the asked precision was built is proven, or the exit code is 1.
    """
    from sal_cli.show.engines import build_progress, print_engines
    from sal_export.engines import build_engines
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    opened = open_bundle(choose_bundle_path(bundle))
    wanted = precision or [Precision.fp16]
    with build_progress() as progress:
        engines = build_engines(opened, [one.value for one in wanted], compute_capability, progress=progress)
    print_engines(engines, as_json=as_json)


@app.command(epilog="See also: docs/interop.md, sal bundle deepstream --out DIR")
def triton(
    out: Annotated[Path, typer.Option("--out", help="The model repository to write.")],
    bundle: ShownOption = None,
    precision: Annotated[Precision, typer.Option(help="Of the image encoder.")] = Precision.fp32,
    max_batch: MaxBatchOption = 32,
    device: Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="Where the image encoder runs.")] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Write a model repository for Triton Inference Server, with both encoders for its ONNX Runtime.

        sal bundle triton --bundle market.bundle --out repository/ --device cuda

        tritonserver --model-repository repository/

    A repository that this command wrote before is replaced in one step; anything else is left alone.
    """
    from sal_cli.show.terminal import print_json
    from sal_export.interop.triton import write_triton_repository
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    opened = open_bundle(choose_bundle_path(bundle))
    models = write_triton_repository(opened, out, precision.value, max_batch, device)
    if as_json:
        served = [model.to_json() for model in models]
        print_json({"repository": str(out), "fingerprint": opened.fingerprint, "models": served})
    else:
        print("\n".join(str(out / model.name) for model in models))


@app.command(epilog="See also: docs/interop.md, sal bundle triton --out REPOSITORY")
def deepstream(
    out: Annotated[Path, typer.Option("--out", help="The directory to write.")],
    bundle: ShownOption = None,
    max_batch: MaxBatchOption = 32,
    gie_id: Annotated[int, typer.Option("--gie-id", min=1, help="Number of this engine in your pipeline.")] = 2,
    detector_id: Annotated[int, typer.Option("--detector-id", min=1, help="Number of your detector.")] = 1,
    person_class: Annotated[int, typer.Option("--person-class", min=0, help="Class of a person there.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write a configuration of DeepStream's Gst-nvinfer that gives every person of a detector an embedding.

        sal bundle deepstream --bundle market.bundle --out deepstream/ --detector-id 1 --person-class 0

    nvinfer feeds float32 and no uint8, so the graph is rewritten to take that, and compared with the bundle's before
    anything is written. Needs the extra `export`.
    """
    from sal_cli.show.terminal import print_json
    from sal_export.interop.deepstream import write_deepstream_config
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    opened = open_bundle(choose_bundle_path(bundle))
    config = write_deepstream_config(opened, out, max_batch, gie_id, detector_id, person_class)
    if as_json:
        print_json({"config": str(config), "fingerprint": opened.fingerprint})
    else:
        print(config)
