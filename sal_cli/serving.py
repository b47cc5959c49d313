"""Galleries as a service, by what people type."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sal_cli.video import CameraOptions, cameras_of
from sal_runtime.arrays import Precision
from sal_runtime.errors import BackendError, ConfigError, InputError, install
from sal_service.governance.policy import Policy
from sal_service.video.cameras import NAME, Camera, read_cameras

STATE_SUFFIX = ".service"


@dataclass(frozen=True)
class ServeRequest:
    """What to serve, and how; see the options of `sal serve`."""

    galleries: Sequence[Path]
    sources: Sequence[str]
    cameras: Sequence[str]
    detector: Path | None
    state: Path | None
    bundles: Path | None
    tokens: Path | None
    policy: Path | None
    insecure: bool
    host: str
    port: int
    host_names: Sequence[str]
    trusted_proxies: Sequence[str]
    tls_certificate: Path | None
    tls_key: Path | None
    bundle: Path | None
    device: str
    precision: Precision | None


def serve_galleries(request: ServeRequest) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: options contradict each other, or a file of settings is wrong.
        InputError: a gallery, a camera or a detector cannot be used.
        BackendError: the extra `serve` is not installed.
        SalError: nothing can listen at the address.
    """
    try:
        from sal_service.api.serve import Network, run_service
        from sal_service.api.service import Service, ServiceSettings
    except ImportError as error:
        raise BackendError(f"a service needs {error.name}; {install('serve')}") from error

    galleries = _named(request.galleries)
    state = request.state or request.galleries[0].with_name(request.galleries[0].name + STATE_SUFFIX)
    tokens = request.tokens or _if_there(state / "tokens.toml")
    policy = request.policy or _if_there(state / "policy.toml")
    network = Network(
        host=request.host,
        port=request.port,
        host_names=tuple(request.host_names),
        tokens=tokens,
        insecure=request.insecure,
        trusted_proxies=tuple(request.trusted_proxies),
        tls_certificate=request.tls_certificate,
        tls_key=request.tls_key,
    )
    cameras = _cameras(request, list(galleries))
    if request.detector is None and any(camera.detector is None for _, camera in cameras):
        raise ConfigError(
            "got no detector of people; name an .onnx file with --detector (docs/detectors.md says where to get one)"
        )
    settings = ServiceSettings(
        galleries=galleries,
        state=state,
        cameras=cameras,
        detector=request.detector,
        bundle=request.bundle,
        bundles=request.bundles,
        policy=Policy() if policy is None else Policy.read(policy),
        device=request.device,
        precision=request.precision,
    )

    def ready(service: Service, address: str) -> None:
        asks = "everybody may do everything" if tokens is None else f"tokens of {tokens}"
        print(f"serving {', '.join(galleries)} at {address} ({asks}; Ctrl-C stops)", file=sys.stderr)
        for problem in service.problems():
            print(f"  {problem}", file=sys.stderr)

    run_service(settings, network, ready)


def _named(galleries: Sequence[Path]) -> dict[str, Path]:
    """Gallery files by name: the file's name without its suffix."""
    named: dict[str, Path] = {}
    for path in galleries:
        if not NAME.fullmatch(path.stem):
            raise InputError(f"{path}: expected a name of letters, digits, '.', '_' and '-', such as yard.sal")
        if path.stem in named:
            raise ConfigError(f"two galleries are called {path.stem}: {named[path.stem]} and {path}; rename one")
        named[path.stem] = path
    return named


def _cameras(request: ServeRequest, galleries: Sequence[str]) -> list[tuple[str, Camera]]:
    """Name of the gallery and camera, of each camera to begin with."""
    found = [(galleries[0], camera) for source in request.sources for camera in cameras_of([source], CameraOptions())]
    if request.sources and len(galleries) > 1:
        raise ConfigError("--source fills one gallery; with several, write the cameras into a file for --cameras")
    for given in request.cameras:
        gallery, mark, file = given.partition("=")
        if not mark:
            if len(galleries) > 1:
                raise ConfigError(f"--cameras {given}: say which gallery takes them, such as {galleries[0]}={given}")
            gallery, file = galleries[0], given
        if gallery not in galleries:
            raise ConfigError(f"--cameras {given}: there is no gallery {gallery}; there is {', '.join(galleries)}")
        found += [(gallery, camera) for camera in read_cameras(Path(file))]
    return found


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None
