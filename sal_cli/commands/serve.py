"""The command `sal serve`: galleries, cameras and watches as a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sal_cli.options import COMPUTE, BundleOption, PrecisionOption, multiply_in_one_thread
from sal_cli.parsing import CommandModule

CAMERAS, WHO, NETWORK = "Cameras", "Who may ask, and what", "Network"
"""Groups of options in the help."""

app = CommandModule()

GalleriesArgument = Annotated[
    list[Path],
    typer.Argument(metavar="GALLERY", show_default=False, help="Gallery files; one that is missing is made."),
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="SOURCE",
        rich_help_panel=CAMERAS,
        help="Take this in: a video file, a folder of frames, a device. Again for another one.",
    ),
]
CamerasOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cameras",
        metavar="[GALLERY=]FILE",
        rich_help_panel=CAMERAS,
        help="Take in the cameras of this .toml file; docs/cameras.md describes it. With several galleries, say which.",
    ),
]
DetectorOption = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        metavar="FILE",
        rich_help_panel=CAMERAS,
        help="The .onnx file that finds people, for cameras that name none; docs/detectors.md says where to get one.",
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FOLDER",
        help="Audit log, watches, tokens and cameras that were added. Default: the first gallery's name with .service.",
    ),
]
BundlesOption = Annotated[
    Path | None,
    typer.Option("--bundles", metavar="FOLDER", help="Bundles that an administrator may let take over."),
]
TokensOption = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        metavar="FILE",
        rich_help_panel=WHO,
        help="Ask for a token of this file (sal token add). Default: tokens.toml of the state folder, if it is there.",
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        rich_help_panel=WHO,
        help="What may be asked, how long images are kept, where alarms may go; docs/governance.md describes it. "
        "Default: policy.toml of the state folder, if it is there.",
    ),
]
InsecureOption = Annotated[
    bool,
    typer.Option("--insecure", rich_help_panel=WHO, help="Let everybody who reaches the address do everything."),
]
HostOption = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", rich_help_panel=NETWORK, help="Listen at this address.")
]
PortOption = Annotated[
    int,
    typer.Option("--port", min=0, max=65535, rich_help_panel=NETWORK, help="Listen at this port; 0 takes a free one."),
]
HostNameOption = Annotated[
    list[str] | None,
    typer.Option(
        "--host-name",
        metavar="NAME",
        rich_help_panel=NETWORK,
        help="A name that people reach the service by. Again for another one.",
    ),
]
ProxyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-proxy",
        metavar="NETWORK",
        rich_help_panel=NETWORK,
        help="Believe X-Forwarded-For of proxies there, such as 10.0.0.0/8, for limits and the log.",
    ),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", metavar="FILE", rich_help_panel=NETWORK, help="Serve HTTPS with this certificate (PEM)."
    ),
]
KeyOption = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", rich_help_panel=NETWORK, help="The key of the certificate.")
]
DeviceOption = Annotated[
    Literal["cpu", "cuda", "trt"],
    typer.Option("--device", rich_help_panel=COMPUTE, help="Detect and encode on this device, or fail."),
]


@app.command(epilog="See also: docs/service.md, docs/governance.md, docs/watches.md, sal token add, sal audit verify")
def serve(  # noqa: PLR0913 - one parameter is one option
    galleries: GalleriesArgument,
    source: SourceOption = None,
    cameras: CamerasOption = None,
    detector: DetectorOption = None,
    tokens: TokensOption = None,
    policy: PolicyOption = None,
    insecure: InsecureOption = False,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8377,
    host_name: HostNameOption = None,
    trust_proxy: ProxyOption = None,
    tls_cert: CertificateOption = None,
    tls_key: KeyOption = None,
    state: StateOption = None,
    bundles: BundlesOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
) -> None:
    r"""Serve galleries: a page to search, REST for programs, cameras that are taken in, watches that tell.

    Only this machine can reach it, unless --host says otherwise; then everybody who asks needs a token.

    ```
    sal serve yard.sal --source vtest.avi --detector yolox.onnx
    sal serve yard.sal --cameras cameras.toml --detector yolox.onnx
    sal token add desk --role search --file yard.sal.service/tokens.toml
    sal serve yard.sal --host 0.0.0.0 --host-name sal.example.org \
        --tls-cert cert.pem --tls-key key.pem
    ```
    """
    multiply_in_one_thread()
    from sal_cli.serving import ServeRequest, serve_galleries

    serve_galleries(
        ServeRequest(
            galleries=galleries,
            sources=source or [],
            cameras=cameras or [],
            detector=detector,
            state=state,
            bundles=bundles,
            tokens=tokens,
            policy=policy,
            insecure=insecure,
            host=host,
            port=port,
            host_names=host_name or [],
            trusted_proxies=trust_proxy or [],
            tls_certificate=tls_cert,
            tls_key=tls_key,
            bundle=bundle,
            device=device,
            precision=precision,
        )
    )
