"""Who works on a store: a process, by a name that tells whether it is still alive."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

_PROC = Path("/proc")


def worker_name() -> str:
    """A name of this process that no other one has, nor had.

    It holds the host with its process namespace, the process id and the time at which the process
    was started; so that :func:`is_dead` can tell, on that host.

    Example:
        >>> is_dead(worker_name())
        False
    """
    pid = os.getpid()
    return f"{_host()}/{pid}/{_started(pid) or ''}/{secrets.token_hex(4)}"


def is_dead(name: str) -> bool:
    """Whether a worker surely runs no more. One on another host may always live.

    Args:
        name: of :func:`worker_name`.
    """
    host, _, rest = name.rpartition("/")[0].partition("/")
    pid, _, started = rest.partition("/")
    if host != _host() or not pid.isdigit() or not started:
        return False
    return _started(int(pid)) != started


def _host() -> str:
    """This machine, or this container on it: where a process id means something."""
    try:
        namespace = os.stat(_PROC / "self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return f"{socket.gethostname()}:{namespace}"


def _started(pid: int) -> str | None:
    """When a process was started, in ticks since the boot of the machine; None: there is none.

    A process id alone may belong to another process by now. A zombie computes no more.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}.{fields[19]}"
