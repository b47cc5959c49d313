"""The report of `sal doctor` for people: 80 columns, printed with nothing but Python."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from sal_runtime.doctor.doctor import DeviceCheck, DoctorReport, EncoderCheck

WIDTH = 80
LABEL = 9
"""Width of the first column, in characters."""
ENCODER = "{:11}{:10}{:>9}{:>10}   {}"


def report_lines(report: DoctorReport) -> list[str]:
    """The report as lines of at most 80 characters."""
    lines = [*_field("sal", _versions(report.versions)), *_field("machine", _machine(report))]
    lines += _field("GPU", _gpus(report))
    lines += _field("bundle", _bundle(report))
    if report.tried_with not in (report.bundle.path, None):
        lines += _field("", f"the devices were tried with {report.tried_with}")
    lines += [
        "",
        f"{'device':{LABEL}}{'works':7}" + ENCODER.format("encoder", "precision", "max diff", "min cos", "nodes"),
    ]
    for device in report.devices:
        lines += _device_lines(device)
    lines.append("")
    for problem in report.problems:
        lines += _field("problem", problem)
    return [*lines, *_field("ok" if report.ok else "not ok", _verdict(report))]


def _field(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=label.ljust(LABEL),
        subsequent_indent=" " * LABEL,
        break_on_hyphens=False,
    )


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
    return bundle.problem if bundle.path in bundle.problem else f"{bundle.path}: {bundle.problem}"


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
    return textwrap.wrap(text, WIDTH - LABEL - 7, break_on_hyphens=False)


def _verdict(report: DoctorReport) -> str:
    working = [device.device for device in report.devices if device.works]
    return f"works on: {', '.join(working) or 'nothing'}; asked for: {report.asked}"
