"""Processors that QEMU's user mode emulates, and the /proc/cpuinfo that Linux would show on them.

QEMU 7.2 shows that of the host. Programs under it would take an ARM processor for one with AVX-512, so each run gets a
file in its place. The features come from the emulated processor itself: its auxiliary vector.
"""

from __future__ import annotations

PROCESSORS = {
    "cortex-a72": (0x41, 0xD08),
    "neoverse-n1": (0x41, 0xD0C),
    "max": (0x00, 0x051),
}
"""Implementer and part by the name that QEMU has for them. The first has no dot products of int8 (`asimddp`), as in a
Raspberry Pi 4; the second has them, and is the server version of the Cortex-A76 of a Raspberry Pi 5, and near to the
Cortex-A78AE of a Jetson Orin; the third has all that QEMU can emulate, products of int8 matrices (`i8mm`) among it."""
HWCAP, HWCAP2 = 16, 26
FEATURES = {
    HWCAP: {
        "fp": 0, "asimd": 1, "aes": 3, "pmull": 4, "sha1": 5, "sha2": 6, "crc32": 7, "atomics": 8, "fphp": 9,
        "asimdhp": 10, "asimdrdm": 12, "lrcpc": 15, "dcpop": 16, "asimddp": 20, "sve": 22, "asimdfhm": 23,
    },
    HWCAP2: {"sve2": 1, "i8mm": 13, "bf16": 14},
}  # fmt: skip
"""Bits of the entries of the auxiliary vector, from Linux' arch/arm64/include/uapi/asm/hwcap.h."""
ASK = (
    "import ctypes; ask = ctypes.CDLL(None).getauxval; ask.restype = ctypes.c_ulong; "
    f"print(ask({HWCAP}), ask({HWCAP2}))"
)
"""A program for the emulated Python that prints both entries."""


def features_of(entries: str) -> list[str]:
    """Features by name, from what `ASK` prints."""
    values = dict(zip((HWCAP, HWCAP2), map(int, entries.split()), strict=True))
    return [name for entry, bits in FEATURES.items() for name, bit in bits.items() if values[entry] >> bit & 1]


def cpuinfo(processor: str, features: list[str], cores: int) -> str:
    """The content of /proc/cpuinfo as Linux writes it on such a processor."""
    implementer, part = PROCESSORS[processor]
    lines = [
        f"Features\t: {' '.join(features)}",
        f"CPU implementer\t: {implementer:#04x}",
        "CPU architecture: 8",
        "CPU variant\t: 0x0",
        f"CPU part\t: {part:#05x}",
        "CPU revision\t: 1",
    ]
    return "".join(f"processor\t: {core}\n" + "\n".join(lines) + "\n\n" for core in range(cores))
