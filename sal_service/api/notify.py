"""Telling systemd that the service is ready, or about to stop (`Type=notify`)."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Send a state to the socket that `$NOTIFY_SOCKET` names; without the variable, nothing happens.

    Args:
        state: `READY=1` once requests are answered, `STOPPING=1` when the end begins.

    Returns:
        Whether somebody took it.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:  # the service works without it; systemd gives up waiting and says so
            return False
    return True
