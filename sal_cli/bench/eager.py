"""PyTorch's eager mode as a contender of `sal bench engine`, to compare exported encoders with.

PyTorch is imported only where it is installed, so that the command runs without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sal_cli.bench.engine import Contender
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle
from sal_runtime.errors import BundleError, ConfigError, install

if TYPE_CHECKING:
    from sal_train.networks import SearchNetworks

ARTEFACT = "pytorch eager"
NEEDED = ("torch", "safetensors")
TORCH_DEVICES = ("cpu", "cuda")


def eager_contenders(
    bundle: Bundle, devices: Sequence[str], threads: int, run: Path | None = None
) -> tuple[list[Contender], list[str]]:
    """The image encoder in PyTorch's eager mode, channels-last, fp32, on those of `devices` that PyTorch supports.

    Args:
        bundle: its manifest states the architecture (`training.model`).
        devices: the devices that are measured.
        threads: number of threads of one run on the CPU.
        run: a training run to take the weights from; None takes random weights, which cost the same time.

    Returns:
        The contenders, and a line for each that is missing.

    Raises:
        BundleError: the manifest's `training.model` is not a model's configuration.
        ConfigError: a run was given and PyTorch is not installed, or the run's encoder differs from the bundle's.
        InputError: `run` is not the folder of a finished training run.
    """
    if any(find_spec(package) is None for package in NEEDED):
        reason = f"PyTorch is not installed; {install('train')}"
        if run is not None:
            raise ConfigError(f"--run {run}: {reason}")
        return [], [f"not measured: {ARTEFACT}: {reason}"]
    networks = _run_networks(bundle, run) if run is not None else _untrained_networks(bundle)
    if networks is None:
        return [], [
            f"not measured: {ARTEFACT}: the manifest of bundle {bundle.name} has no training.model; "
            "export it again, or give its run with --run"
        ]
    import torch

    # the row says fp32; convolutions in TF32 would be another precision
    torch.backends.cudnn.allow_tf32 = False
    contenders, notes = [], []
    for device in (device for device in devices if device in TORCH_DEVICES):
        if device == "cuda" and not torch.cuda.is_available():
            notes.append(f"not measured: {ARTEFACT} on cuda: PyTorch {torch.__version__} finds no CUDA device")
        else:
            library = f"torch {torch.__version__}"
            encode = _encode(networks, device, threads)
            contenders.append(Contender(IMAGE_ROLE, ARTEFACT, "fp32", device, library, encode))
    return contenders, notes


def _run_networks(bundle: Bundle, run: Path) -> SearchNetworks:
    from sal_train.checkpoint import load_run

    networks = load_run(run).networks
    config, spec = networks.config, bundle.image_spec
    found = (config.height, config.width, networks.embedding_dim)
    expected = (spec.height, spec.width, bundle.embedding_dim)
    if found != expected:
        raise ConfigError(
            f"--run {run}: its encoder has height, width and embedding_dim {found}, expected {expected} as in "
            f"bundle {bundle.name}; give the run that the bundle was exported from"
        )
    return networks


def _untrained_networks(bundle: Bundle) -> SearchNetworks | None:
    """The bundle's architecture with random weights; None if the manifest does not state the architecture."""
    section = bundle.manifest["training"].get("model")
    if section is None:
        return None
    from sal_train.config import Config, ModelConfig
    from sal_train.systems.table import build_networks

    try:
        return build_networks(Config(model=ModelConfig(**section)), bundle.schema, num_categories=1)
    except TypeError as error:
        raise BundleError(f"bundle {bundle.path}: training.model of the manifest: {error}; export it again") from error


def _encode(networks: SearchNetworks, device: str, threads: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Encodes from host memory to host memory, as all contenders do; the process keeps its number of threads."""
    import torch

    from sal_export.encoders import DeployedImageEncoder

    module = DeployedImageEncoder(networks).eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def encode(images: NDArray[Any]) -> NDArray[Any]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            embeddings: NDArray[Any] = module(torch.from_numpy(images).to(device)).cpu().numpy()
        finally:
            torch.set_num_threads(before)
        return embeddings

    return encode
