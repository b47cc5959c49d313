"""The reports of `sal doctor`, on a machine or a service, for people: 80 columns, printed with nothing but Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sal_cli.show.terminal import printable, wrapped
from sal_runtime.errors import install

if TYPE_CHECKING:
    from sal_cli.service_check import ServiceReport
    from sal_runtime.doctor.doctor import DeviceCheck, DoctorReport, EncoderCheck, PlaceCheck

WIDTH = 80
LABEL = 9
"""Width of the first column, in characters."""
ENCODER = "{:11}{:10}{:>9}{:>10}   {}"
UNITS = ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s"))
PART = "{:30} {:10} {}"


def report_lines(report: DoctorReport, missing_extras: Mapping[str, str]) -> list[str]:
    """The report in lines of at most 80 characters, except where a path or a command is longer; the first sums up.

    Args:
        report: what was found.
        missing_extras: as `sal_cli.extras.missing_extras` gives them.
    """
    lines = [*wrapped(_summary(report), WIDTH), ""]
    lines += [*_field("sal", _versions(report.versions)), *_field("machine", _machine(report))]
    lines += _field("GPU", _gpus(report))
    lines += _field("bundle", _bundle(report))
    if report.tried_with not in (report.bundle.path, None):
        lines += _field("", f"the devices were tried with {report.tried_with}")
    lines += _field("cache", _place(report.cache))
    if report.gallery is not None:
        lines += _field("gallery", _place(report.gallery))
    lines += [
        "",
        f"{'device':{LABEL}}{'works':7}" + ENCODER.format("encoder", "precision", "max diff", "min cos", "nodes"),
    ]
    for device in report.devices:
        lines += _device_lines(device)
    if missing_extras:
        lines += ["", f"extras that are not installed; {install('NAME')}"]
    for name, text in missing_extras.items():
        lines += _field(name, text)
    if report.problems:
        lines.append("")
    for problem in report.problems:
        lines += _field("problem", problem)
    return lines


def _summary(report: DoctorReport) -> str:
    """Whether all is well for what was asked; if not, what is in the way; and which devices work."""
    working = [device.device for device in report.devices if device.works]
    works = f"{' and '.join(working) or 'no device'} {'works' if len(working) < 2 else 'work'}"
    if report.ok:
        others = len(report.devices) - len(working)
        return f"ready: {works}" + (f"; {others} {'device' if others == 1 else 'devices'} not usable" if others else "")
    reasons = [] if report.bundle.whole else ["the bundle is not whole"]
    if report.gallery is not None and not report.gallery.works:
        reasons.append("the gallery cannot be used")
    if report.asked not in ("auto", *working):
        reasons.append(f"{report.asked} does not work")
    return f"not ready: {', '.join(reasons) or 'images cannot be decoded'}; {works}"


def _field(label: str, text: str) -> list[str]:
    return wrapped(text, WIDTH, " " * LABEL, label.ljust(LABEL))


def _place(place: PlaceCheck) -> str:
    path = printable(place.path) or "not known"
    held = "" if place.items is None else f"{place.items:,} images, "
    return f"{path}: {held}{printable(place.problem) or 'can be read and written'}"


def _versions(versions: Mapping[str, str]) -> str:
    others = [f"{name} {version}" for name, version in versions.items() if name not in ("sal", "python")]
    return ", ".join([versions["sal"], f"Python {versions['python']}", *others])


def _machine(report: DoctorReport) -> str:
    known = report.int8_instructions
    has = [name for name, is_present in known.items() if is_present]
    lacks = [name for name, is_present in known.items() if not is_present]
    int8 = f"for int8: {', '.join(has) or 'nothing'}" + (f"; not {', '.join(lacks)}" if lacks else "")
    if {"avx_vnni", "avx512_vnni"} <= set(lacks):
        int8 += " (without VNNI int8 is exact, but may be no faster than fp32)"
    parts = [str(report.machine["cpu"]), f"{report.machine['cores']} cores", int8 if known else "int8: not known"]
    return ", ".join([*parts, str(report.machine["os"])])


def _gpus(report: DoctorReport) -> str:
    described = (
        f"{gpu.name}, {gpu.memory}, compute capability {gpu.compute_capability}, driver {gpu.driver}"
        for gpu in report.gpus
    )
    return "; ".join(described) or f"none: {report.gpu_problem}"


def _bundle(report: DoctorReport) -> str:
    bundle = report.bundle
    if bundle.whole:
        return f"{bundle.path}: {bundle.name} in {', '.join(bundle.precisions)}; whole"
    problem = bundle.problem.removeprefix("bundle ")
    return problem if bundle.path in problem else f"{bundle.path}: {problem}"


def _device_lines(device: DeviceCheck) -> list[str]:
    """A row for each encoder that ran, then why the others did not; only the first line names the device."""
    ran = [encoder for encoder in device.encoders if encoder.max_abs is not None]
    rows = [_encoder_row(encoder) for encoder in ran]
    problems = dict.fromkeys([encoder.problem for encoder in device.encoders if encoder.problem] or [device.problem])
    text = [line for problem in problems if problem for line in _wrapped(problem)]
    start = f"{device.device:{LABEL}}{'yes' if device.works else 'no':7}"
    return [(start if number == 0 else " " * len(start)) + line for number, line in enumerate([*rows, *text])]


def _encoder_row(encoder: EncoderCheck) -> str:
    kind = encoder.role.removesuffix("_encoder")
    return ENCODER.format(
        kind, encoder.precision, f"{encoder.max_abs:.1e}", f"{encoder.min_cosine:.5f}", _placement(encoder.placement)
    )


def _placement(placement: Mapping[str, int] | None) -> str:
    """Number of nodes of the graph on each execution provider, such as `CPU 108`."""
    if placement is None:
        return "not provable"
    counts = (f"{name.removesuffix('ExecutionProvider')} {count}" for name, count in placement.items())
    return ", ".join(counts) or "one engine"


def _wrapped(text: str) -> list[str]:
    return wrapped(text, WIDTH - LABEL - 7)


def service_lines(report: ServiceReport) -> list[str]:
    """The report on a service, as `report_lines` gives that on a machine; the first line sums up."""
    lines = [_service_summary(report), ""]
    about = [f"sal {report.version}"] if report.version else []
    about += [] if report.uptime_seconds is None else [f"up for {_duration(report.uptime_seconds)}"]
    lines += _field("service", ": ".join([printable(report.url), *([", ".join(about)] if about else [])]))
    if report.devices:
        lines += ["", PART.format("part", "device", "precision").rstrip()]
        lines += [
            printable(PART.format(part, device, precision or "")).rstrip() for part, device, precision in report.devices
        ]
    if report.problems or report.notes:
        lines.append("")
    for label, texts in (("problem", report.problems), ("note", report.notes)):
        for text in texts:
            lines += _field(label, printable(text))
    return lines


def _service_summary(report: ServiceReport) -> str:
    if not report.reached:
        return "not reached"
    return "ready" if report.ready else "not ready"


def _duration(seconds: float) -> str:
    """The two largest units of a duration, such as `3 h 12 min`."""
    size, place = next(((size, number) for number, (size, _) in enumerate(UNITS) if seconds >= size), (1, 3))
    parts = [f"{int(seconds // size)} {UNITS[place][1]}"]
    if place + 1 < len(UNITS):
        smaller, name = UNITS[place + 1]
        parts.append(f"{int(seconds % size // smaller)} {name}")
    return " ".join(parts)
