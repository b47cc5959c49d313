"""The commands `sal bundle ...`: look into a bundle, sign it, and hand it to other inference servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sal_cli.options import (
    COMPUTE,
    EXIT_FAILED,
    CapabilityOption,
    JsonOption,
    PrecisionChoice,
    check_precisions,
    refuse_options,
)
from sal_cli.parsing import CommandModule

app = CommandModule(help="Look into a bundle, sign it, and hand it to other inference servers.")

ShownOption = Annotated[
    Path | None, typer.Option("--bundle", "-b", help="The bundle. Default: $SAL_BUNDLE, else the shipped one.")
]
GatePrecisionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="fp32|fp16|int8",
        rich_help_panel=COMPUTE,
        help="With --gate: compare the encoder in this precision; repeatable. Default: all.",
    ),
]
SignedOption = Annotated[Path, typer.Option("--bundle", "-b", help="The folder of the bundle.")]
MaxBatchOption = Annotated[
    int, typer.Option("--max-batch", min=1, max=1024, help="Encode at most this many crops in one run.")
]


@app.command(epilog="See also: the bundle's MODEL_CARD.md, docs/bundle.md")
def show(bundle: ShownOption = None, as_json: JsonOption = False) -> None:
    """Say what a bundle is: encoders, sizes, differences from PyTorch, test numbers, attributes, licence.

    The test numbers are those that `sal eval --attach` wrote:

    ```
    sal bundle show --bundle bundles/edge
    ```
    """
    from sal_cli.show.bundle import print_summary
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    print_summary(open_bundle(choose_bundle_path(bundle)), as_json=as_json)


@app.command(epilog="See also: sal search, docs/query_language.md")
def words(bundle: ShownOption = None, as_json: JsonOption = False) -> None:
    """List the words that a description may use, and how well each is recognised.

    "found" is the share of the test images showing it in which the model recognises it, "right" the share of its finds
    that do show it, and "at 40" that share at the threshold that finds 40 % of them, which says more of rare words.
    "people" is the number of test people who show it. A search that asks for a word found in less than 10 %
    says so:

    ```
    sal bundle words --bundle bundles/edge
    ```
    """
    from sal_cli.show.bundle import print_words
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    print_words(open_bundle(choose_bundle_path(bundle)), as_json=as_json)


@app.command(epilog="See also: sal bundle verify --bundle BUNDLE --key public.pem")
def sign(
    bundle: SignedOption,
    key: Annotated[Path, typer.Option("--key", help="The file of your private elliptic-curve key (PEM).")],
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle with your key, offline; everybody with your public key can verify the signature.

    ```
    sal bundle sign --bundle market.bundle --key private.pem
    ```

    The signature, model.sig of OpenSSF Model Signing, is part of the bundle and covers every other file. `sal export`
    and `sal eval --attach` write the bundle anew without it: sign again. Needs the extra `sign`.
    """
    from sal_cli.show.terminal import print_json
    from sal_export.interop.signing import sign_bundle

    signature = sign_bundle(bundle, key)
    if as_json:
        print_json({"bundle": str(bundle), "signature": str(signature)})
    else:
        print(signature)


@app.command(epilog="See also: sal bundle sign --bundle BUNDLE --key private.pem, sal doctor, docs/edge_box.md")
def verify(
    bundle: SignedOption,
    key: Annotated[
        Path | None, typer.Option("--key", help="Check the signature with the signer's public key, a file (PEM).")
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option("--gate", metavar="CROPS", help="Compare the encoders with fp32 on a folder of crops of people."),
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda", "trt"] | None,
        typer.Option("--device", rich_help_panel=COMPUTE, help="With --gate: run the encoders here. Default: cpu."),
    ] = None,
    precision: GatePrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a bundle is what the owner of a key signed, and that its encoders do on this machine what they should.

    The exit code is 1 if the bundle differs or is not signed, or if an encoder misses a limit of the gate:

    ```
    sal bundle verify --bundle market.bundle --key public.pem
    sal bundle verify --bundle bundles/edge --gate demo/gallery
    ```

    The numbers of a reduced precision depend on the processor. --gate measures them here, beside those of the export:
    every encoder for the device against fp32 on the CPU, on up to 256 of your crops, which need no labels (at least
    65). What it cannot say without labels is how many hits are right.
    """
    from sal_cli.show.bundle import print_gate
    from sal_cli.show.gallery import print_problems
    from sal_runtime.errors import ConfigError

    if key is None and gate is None:
        raise ConfigError("name what to check: --key for the signature, --gate for the encoders on this machine")
    if gate is None:
        refuse_options({"--device": device, "--precision": precision}, "no encoder is run; add --gate")
    precisions = check_precisions("--precision", precision)
    problems: list[str] = []
    if key is not None:
        from sal_export.interop.signing import verify_bundle

        problems = verify_bundle(bundle, key)
    if gate is None or problems:  # what is not what was signed is not run
        print_problems(problems, as_json=as_json)
    else:
        from sal_export.gates.on_box import PRECISIONS, gate_crops_of, judge_on_box
        from sal_runtime.bundle.bundle import open_bundle

        opened = open_bundle(bundle)
        report = judge_on_box(opened, gate_crops_of(opened, gate), device or "cpu", precisions or PRECISIONS)
        print_gate(report, as_json=as_json)
        problems = report.problems
    if problems:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: docs/edge_box.md, docs/engines.md, sal search --device trt")
def engine(
    bundle: ShownOption = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="fp32|fp16|int8",
            help="Build in this precision; repeatable. Default: in each for which the bundle has an encoder for "
            "TensorRT.",
        ),
    ] = None,
    compute_capability: CapabilityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build TensorRT engines of the image encoder into the engine store, before they are needed.

    ```
    sal bundle engine --bundle market.bundle --precision fp16 --precision int8
    ```

    `--device trt` builds missing engines by itself; this command builds them beforehand. An engine works for one
    version of TensorRT and one kind of GPU. If an engine turns out to have another precision, the exit code is 1.
    `sal export --precision fp16 --precision int8-trt` adds the encoders to the bundle; that needs no GPU.
    """
    from sal_cli.show.engines import build_progress, print_engines
    from sal_export.engines import build_engines, engine_precisions
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    precisions = check_precisions("--precision", precision)
    opened = open_bundle(choose_bundle_path(bundle))
    precisions = precisions or engine_precisions(opened)
    with build_progress() as progress:
        engines = build_engines(opened, precisions, compute_capability, progress=progress)
    print_engines(engines, as_json=as_json)


@app.command(epilog="See also: docs/interop.md, sal bundle deepstream --out DIR")
def triton(
    out: Annotated[Path, typer.Option("--out", help="The model repository to write.")],
    bundle: ShownOption = None,
    precision: Annotated[
        PrecisionChoice,
        typer.Option("--precision", rich_help_panel=COMPUTE, help="Run the image encoder in this arithmetic."),
    ] = "fp32",
    max_batch: MaxBatchOption = 32,
    device: Annotated[
        Literal["cpu", "cuda"],
        typer.Option("--device", rich_help_panel=COMPUTE, help="Run the image encoder on this device."),
    ] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Write a model repository for Triton Inference Server, with both encoders for its ONNX Runtime.

    ```
    sal bundle triton --bundle bundles/edge --out repository/ --device cuda
    tritonserver --model-repository repository/
    ```

    A repository that this command wrote before is replaced in one step; anything else is left alone.
    """
    from sal_cli.show.terminal import print_json
    from sal_export.interop.triton import write_triton_repository
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.gallery.choices import choose_bundle_path

    opened = open_bundle(choose_bundle_path(bundle))
    models = write_triton_repository(opened, out, precision, max_batch, device)
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
    gie_id: Annotated[int, typer.Option("--gie-id", min=1, help="The number of this engine in your pipeline.")] = 2,
    detector_id: Annotated[int, typer.Option("--detector-id", min=1, help="The number of your detector.")] = 1,
    person_class: Annotated[int, typer.Option("--person-class", min=0, help="The detector's class for people.")] = 0,
    as_json: JsonOption = False,
) -> None:
    r"""Write a configuration of DeepStream's Gst-nvinfer that gives every detected person an embedding.

    ```
    sal bundle deepstream --bundle bundles/edge --out deepstream/ \
        --detector-id 1 --person-class 0
    ```

    nvinfer feeds float32 where the bundle takes uint8; the graph is rewritten to match, and compared with the bundle's
    before it is written. Needs the extra `export`.
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
