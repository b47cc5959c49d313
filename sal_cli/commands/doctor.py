"""The command `sal doctor`: what works on this machine, and why the rest does not."""

from __future__ import annotations

import typer

from sal_cli.options import EXIT_FAILED, DeviceOption, JsonOption, ShippedBundleOption
from sal_cli.parsing import CommandModule

app = CommandModule()


@app.command(epilog="See also: sal bench engine, docs/devices.md")
def doctor(bundle: ShippedBundleOption = None, device: DeviceOption = None, as_json: JsonOption = False) -> None:
    """Say what works on this machine, and what to install for what does not.

    The doctor reads the bundle to its last byte, and runs its encoders on every device with inputs whose embeddings are
    known. The exit code is 0 if the bundle is whole and the requested device works:

    ```
    sal doctor --bundle bundles/edge --device cpu
    ```

    Where TensorRT is installed, building an engine first may take minutes.
    """
    from sal_cli.show.doctor import report_lines
    from sal_cli.show.terminal import print_json
    from sal_runtime.doctor.doctor import examine

    report = examine(bundle, device or "cpu")
    if as_json:
        print_json(report.to_json())
    else:
        print("\n".join(report_lines(report)))
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)
