"""The tests of the runtime and of the command on an emulated 64-bit ARM processor: `python -m scripts.emulated --help`.

__main__.py     the command
root.py         a Debian for that processor, with sal and its test tools
processors.py   the processors that QEMU emulates, and what they say of themselves
journal.py      a pytest plugin that writes down each test, so that a killed run goes on where it was
explained.toml  failures that the emulation causes, and why
"""
