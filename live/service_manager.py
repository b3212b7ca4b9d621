"""What systemd is told, where it started the process with `Type=notify`: that it is ready, that it is ending."""

import os
import socket
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"
_PATIENCE_SECONDS = 1.0


def tell_service_manager(state: str) -> None:
    """Send one state to NOTIFY_SOCKET. Without one, or where nobody listens there, nothing is done: serving goes on."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
        notifying.settimeout(_PATIENCE_SECONDS)
        # An @ stands for the zero byte that an abstract address begins with.
        notifying.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        notifying.send(state.encode())
