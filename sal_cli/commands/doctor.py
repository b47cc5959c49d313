"""The command `sal doctor`: what works on this machine, and why the rest does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import EXIT_FAILED, BundleOption, DeviceOption, JsonOption
from sal_cli.parsing import CommandModule

app = CommandModule()

GalleryOption = Annotated[
    Path | None,
    typer.Option(
        "--gallery", "-g", help="Also check that this gallery, or that of this folder, opens, and is of the bundle."
    ),
]


@app.command(epilog="See also: sal bench engine, docs/devices.md")
def doctor(
    bundle: BundleOption = None,
    gallery: GalleryOption = None,
    device: DeviceOption = None,
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
    """
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
