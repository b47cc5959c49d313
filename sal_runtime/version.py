"""The version of sal."""

__version__ = "0.1.0"
