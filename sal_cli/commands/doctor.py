"""The command `sal doctor`: what works here, and why the rest does not."""

from __future__ import annotations

import typer

from sal_cli.options import EXIT_FAILED, BundleOption, DeviceOption, JsonOption

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="See also: sal bench engine, docs/devices.md")
def doctor(bundle: BundleOption = None, device: DeviceOption = "cpu", as_json: JsonOption = False) -> None:
    """Say what works on this machine, and what to install for what does not.

    The bundle is read to the last byte, and its encoders are run on every device with inputs whose embeddings are
    known. The exit code is 0 if the bundle is whole and the device asked for works:

        sal doctor --bundle market.sal --device cuda

    Where TensorRT is there, an engine may have to be built first, which may take minutes.
    """
    from sal_cli.show.doctor import report_lines
    from sal_cli.show.terminal import print_json
    from sal_runtime.doctor.doctor import examine

    report = examine(bundle, device)
    if as_json:
        print_json(report.to_json())
    else:
        print("\n".join(report_lines(report)))
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)
