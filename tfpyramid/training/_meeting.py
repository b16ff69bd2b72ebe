"""How workers meet at the address of the first, before TensorFlow connects them.

Each other worker connects and sends its index in a line; when all are there, or the time is over, the first answers
with a line of JSON: the list of the addresses that are missing. Others may connect too, so neither side believes more
than that, and nobody can make either side wait longer or remember more.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

from tfpyramid.training._cluster import Address

_LONGEST_INDEX = 16  # Bytes of a line that holds an index.
_PATIENCE = 5.0  # Seconds that a caller has to send its line.
_MOST_CALLERS = 256  # That have sent none yet.


def gather(workers: Sequence[Address], deadline: float) -> list[str]:
    """Wait for all other workers and answer them; return the addresses of those that are missing."""
    with contextlib.ExitStack() as stack:
        meeting = _Meeting(workers, stack)
        for server in _listen(workers, deadline):
            stack.callback(server.close)
            meeting.selector.register(server, selectors.EVENT_READ)
        while len(meeting.there) < len(workers) - 1 and time.monotonic() < deadline:
            meeting.wait(deadline)
        missing = [address.text for k, address in enumerate(workers) if k > 0 and k not in meeting.there]
        for connection in meeting.there.values():
            with contextlib.suppress(OSError):
                connection.settimeout(2)
                connection.sendall(json.dumps(missing).encode() + b"\n")
    return missing


class _Meeting:
    """The connections of the first worker."""

    def __init__(self, workers: Sequence[Address], stack: contextlib.ExitStack) -> None:
        self.there: dict[int, socket.socket] = {}
        self.selector = stack.enter_context(selectors.DefaultSelector())
        stack.callback(self._close)
        self._indices = range(1, len(workers))
        self._received: dict[socket.socket, bytes] = {}  # By each caller, who has not sent a whole line, oldest first.
        self._until: dict[socket.socket, float] = {}

    def wait(self, deadline: float) -> None:
        """Do what connections ask for, for a moment."""
        left = min(deadline - time.monotonic(), 0.5)
        for key, _ in self.selector.select(max(left, 0.0)):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if connection in self._received:
                self._read(connection)
            elif connection in self.there.values():
                self._drop(connection)  # A worker sends nothing more: it has ended, or is no worker.
            else:
                self._accept(connection)
        now = time.monotonic()
        for caller in [caller for caller, until in self._until.items() if until < now]:
            self._drop(caller)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # It has hung up.
            caller = server.accept()[0]
            caller.setblocking(False)
            self.selector.register(caller, selectors.EVENT_READ)
            self._received[caller], self._until[caller] = b"", time.monotonic() + _PATIENCE
            if len(self._received) > _MOST_CALLERS:
                self._drop(next(iter(self._received)))

    def _read(self, caller: socket.socket) -> None:
        try:
            part = caller.recv(_LONGEST_INDEX)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        line = self._received[caller] = self._received[caller] + part
        if part and len(line) < _LONGEST_INDEX and not line.endswith(b"\n"):
            return
        index = int(line) if line.endswith(b"\n") and line[:-1].isdigit() else 0
        if index in self._indices and index not in self.there:
            del self._received[caller], self._until[caller]
            self.there[index] = caller
        else:
            self._drop(caller)

    def _drop(self, caller: socket.socket) -> None:
        self.selector.unregister(caller)
        caller.close()
        self._received.pop(caller, None)
        self._until.pop(caller, None)
        self.there = {index: connection for index, connection in self.there.items() if connection is not caller}

    def _close(self) -> None:
        for caller in [*self._received, *self.there.values()]:
            caller.close()


def join(workers: Sequence[Address], index: int, deadline: float) -> list[str]:
    """Wait for the first worker to answer; return the addresses of those that are missing."""
    longest = len(json.dumps([address.text for address in workers])) + 1
    while time.monotonic() < deadline:
        # Whatever is at that address, and is not the first worker, is asked again.
        with contextlib.suppress(OSError, ValueError, RecursionError):
            with socket.create_connection(workers[0][1:], timeout=2) as connection:
                connection.sendall(f"{index}\n".encode())
                # The first worker waits as long, perhaps from a little later on.
                answer = json.loads(_line(connection, longest, deadline + 5))
                others = [address.text for k, address in enumerate(workers) if k not in (0, index)]
                if isinstance(answer, list) and all(text in others for text in answer):
                    return answer
        time.sleep(0.1)
    return [workers[0].text]


def _line(connection: socket.socket, longest: int, deadline: float) -> bytes:
    """Return a line of so many bytes at most."""
    line = b""
    while not line.endswith(b"\n"):
        connection.settimeout(max(deadline - time.monotonic(), 0.01))
        part = connection.recv(longest - len(line) + 1)
        line += part
        if not part or len(line) > longest or time.monotonic() > deadline:
            raise ValueError("no line")
    return line


def _listen(workers: Sequence[Address], deadline: float) -> list[socket.socket]:
    """Return sockets that listen at the address of the first worker, and nowhere else."""
    first, servers, error = workers[0], [], OSError("its name has no address")
    for family, place in _places(workers, deadline):
        try:
            servers.append(socket.create_server(place, family=family))
        except OSError as failed:
            error = failed
    if servers:
        return servers
    raise ValueError(
        "`TF_CONFIG` must give as the first worker an address of this machine with a port that is free. "
        f"Received: {first.text!r}: {error}"
    )


def _places(workers: Sequence[Address], deadline: float) -> list[tuple[int, Any]]:
    """Return what the first worker binds sockets to, with their families."""
    _, host, port = workers[0]
    while True:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            break
        except OSError:  # A new machine may get its name a little later.
            if time.monotonic() > deadline:
                return []
            time.sleep(0.2)
    others = [address.host for address in workers if address.host not in (host, "localhost")]
    if all(_is_loopback(str(info[4][0])) for info in infos) and not _is_loopback(host) and host != "localhost":
        if not all(map(_is_loopback, others)):
            # Debian gives a machine's own name the address 127.0.1.1, where no other machine reaches it.
            return [(socket.AF_INET, ("", port))]
    return list(dict.fromkeys((info[0], info[4]) for info in infos))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # A name.
        return False
