"""The rendezvous of all workers at the address of the first worker, before TensorFlow connects them.

Every other worker connects and sends its index in a line. When all workers have connected, or after the timeout, the
first worker replies with a line of JSON: the list of the addresses of missing workers. Unrelated programs may connect
too, so both sides reject every other message and limit how long they wait and how much they store.
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

from tfpyramid.training._tf_config import Address

_LONGEST_INDEX = 16  # The most bytes of a line with an index.
_LINE_TIMEOUT = 5.0  # Seconds that a connection has to send its line.
_MOST_PENDING = 256  # The most connections that have not sent a line yet.


def wait_for_workers(workers: Sequence[Address], deadline: float) -> list[str]:
    """Wait for all other workers and reply to them; return the addresses of missing workers."""
    with contextlib.ExitStack() as stack:
        connections = _Connections(workers, stack)
        for server in _listen(workers, deadline):
            stack.callback(server.close)
            connections.selector.register(server, selectors.EVENT_READ)
        while len(connections.workers) < len(workers) - 1 and time.monotonic() < deadline:
            connections.wait(deadline)
        missing = [address.text for k, address in enumerate(workers) if k > 0 and k not in connections.workers]
        for connection in connections.workers.values():
            with contextlib.suppress(OSError):
                connection.settimeout(2)
                connection.sendall(json.dumps(missing).encode() + b"\n")
    return missing


class _Connections:
    """The connections of the first worker: `workers`, by their index, and those that have not sent an index yet."""

    def __init__(self, workers: Sequence[Address], stack: contextlib.ExitStack) -> None:
        self.workers: dict[int, socket.socket] = {}
        self.selector = stack.enter_context(selectors.DefaultSelector())
        stack.callback(self._close)
        self._indices = range(1, len(workers))
        self._pending: dict[socket.socket, bytes] = {}  # The bytes of each incomplete line, oldest connection first.
        self._deadlines: dict[socket.socket, float] = {}

    def wait(self, deadline: float) -> None:
        """Wait at most half a second for events, and handle them."""
        seconds = min(deadline - time.monotonic(), 0.5)
        for key, _ in self.selector.select(max(seconds, 0.0)):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if connection in self._pending:
                self._read(connection)
            elif connection in self.workers.values():
                self._drop(connection)  # A worker sends nothing after its index, so it has ended or is not a worker.
            else:
                self._accept(connection)
        now = time.monotonic()
        for connection in [connection for connection, until in self._deadlines.items() if until < now]:
            self._drop(connection)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # The other side may have closed the connection already.
            connection = server.accept()[0]
            connection.setblocking(False)
            self.selector.register(connection, selectors.EVENT_READ)
            self._pending[connection], self._deadlines[connection] = b"", time.monotonic() + _LINE_TIMEOUT
            if len(self._pending) > _MOST_PENDING:
                self._drop(next(iter(self._pending)))

    def _read(self, connection: socket.socket) -> None:
        try:
            part = connection.recv(_LONGEST_INDEX)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        line = self._pending[connection] = self._pending[connection] + part
        if part and len(line) < _LONGEST_INDEX and not line.endswith(b"\n"):
            return
        index = int(line) if line.endswith(b"\n") and line[:-1].isdigit() else 0
        if index in self._indices and index not in self.workers:
            del self._pending[connection], self._deadlines[connection]
            self.workers[index] = connection
        else:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        self.selector.unregister(connection)
        connection.close()
        self._pending.pop(connection, None)
        self._deadlines.pop(connection, None)
        self.workers = {index: other for index, other in self.workers.items() if other is not connection}

    def _close(self) -> None:
        for connection in [*self._pending, *self.workers.values()]:
            connection.close()


def join_first_worker(workers: Sequence[Address], index: int, deadline: float) -> list[str]:
    """Connect to the first worker and wait for its reply; return the addresses of missing workers."""
    longest = len(json.dumps([address.text for address in workers])) + 1
    while time.monotonic() < deadline:
        # Another program may listen at the address until the first worker starts, so retry after a wrong reply.
        with contextlib.suppress(OSError, ValueError, RecursionError):
            with socket.create_connection(workers[0][1:], timeout=2) as connection:
                connection.sendall(f"{index}\n".encode())
                # The first worker waits equally long but may have started a little later.
                reply = json.loads(_line(connection, longest, deadline + 5))
                others = [address.text for k, address in enumerate(workers) if k not in (0, index)]
                if isinstance(reply, list) and all(text in others for text in reply):
                    return reply
        time.sleep(0.1)
    return [workers[0].text]


def _line(connection: socket.socket, longest: int, deadline: float) -> bytes:
    """Return a line of at most `longest` bytes."""
    line = b""
    while not line.endswith(b"\n"):
        connection.settimeout(max(deadline - time.monotonic(), 0.01))
        part = connection.recv(longest - len(line) + 1)
        line += part
        if not part or len(line) > longest or time.monotonic() > deadline:
            raise ValueError("The other side did not send a line.")  # `join_first_worker` catches it and retries.
    return line


def _listen(workers: Sequence[Address], deadline: float) -> list[socket.socket]:
    """Return sockets that listen only at the address of the first worker."""
    first, servers, error = workers[0], [], OSError("its name cannot be resolved to an address")
    for family, address in _socket_addresses(workers, deadline):
        try:
            servers.append(socket.create_server(address, family=family))
        except OSError as failed:
            error = failed
    if servers:
        return servers
    raise ValueError(
        "`TF_CONFIG` must list an address of this machine with a free port as the first worker. "
        f"Received: {first.text!r}: {error}"
    )


def _socket_addresses(workers: Sequence[Address], deadline: float) -> list[tuple[int, Any]]:
    """Return the socket family and the address of each socket that the first worker opens."""
    _, host, port = workers[0]
    while True:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            break
        except OSError:  # The name of a new machine may become resolvable a little later.
            if time.monotonic() > deadline:
                return []
            time.sleep(0.2)
    others = [address.host for address in workers if address.host not in (host, "localhost")]
    if all(_is_loopback(str(info[4][0])) for info in infos) and not _is_loopback(host) and host != "localhost":
        if not all(map(_is_loopback, others)):
            # Debian resolves a machine's own name to 127.0.1.1, which other machines cannot reach.
            return [(socket.AF_INET, ("", port))]
    return list(dict.fromkeys((info[0], info[4]) for info in infos))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # `host` is a name, not an address.
        return False
