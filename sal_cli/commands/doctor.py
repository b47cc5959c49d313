"""The command `sal doctor`: what works on this machine, and why the rest does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import EXIT_FAILED, BundleOption, DeviceOption, JsonOption, refuse_options
from sal_cli.parsing import CommandModule

app = CommandModule()

GalleryOption = Annotated[
    Path | None,
    typer.Option(
        "--gallery", "-g", help="Also check that this gallery, or that of this folder, opens, and is of the bundle."
    ),
]
ServiceOption = Annotated[
    str | None,
    typer.Option("--service", metavar="URL", help="Ask a running `sal serve` instead of looking at this machine."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="A file with a token of the service, of any role, that only you may read."),
]


@app.command(epilog="See also: sal bench engine, docs/devices.md, docs/service.md")
def doctor(
    bundle: BundleOption = None,
    gallery: GalleryOption = None,
    device: DeviceOption = None,
    service: ServiceOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what works on this machine, and what to install for what does not.

    The doctor reads the bundle to its last byte, and runs its encoders on every device with inputs whose embeddings are
    known. The exit code is 0 if the bundle is whole, the requested device works, and the gallery, if you name one, can
    be searched:

    ```
    sal doctor
    sal doctor --bundle bundles/edge --device cpu
    ```

    Where TensorRT is installed, building an engine first may take minutes.

    With `--service` the doctor asks a running service whether it is ready and, with a token, on which devices its parts
    run. The exit code is 0 if it is ready:

    ```
    sal doctor --service http://127.0.0.1:8377
    ```
    """
    if service is not None:
        refuse_options(
            {"--bundle": bundle, "--gallery": gallery, "--device": device}, "a service was named; leave it out"
        )
        _ask_service(service, token_file, as_json)
        return
    refuse_options({"--token-file": token_file}, "no service was named; give --service")
    from sal_cli.extras import missing_extras
    from sal_cli.show.doctor import report_lines
    from sal_cli.show.terminal import print_json
    from sal_runtime.doctor.doctor import examine

    report, missing = examine(bundle, device or "cpu", gallery), missing_extras()
    if as_json:
        print_json(report.to_json() | {"missing_extras": missing})
    else:
        print("\n".join(report_lines(report, missing)))
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


def _ask_service(url: str, token_file: Path | None, as_json: bool) -> None:
    from sal_cli.service_check import examine_service, read_token
    from sal_cli.show.doctor import service_lines
    from sal_cli.show.terminal import print_json

    report = examine_service(url, None if token_file is None else read_token(token_file))
    if as_json:
        print_json(report.to_json())
    else:
        print("\n".join(service_lines(report)))
    if not report.ready:
        raise typer.Exit(EXIT_FAILED)
