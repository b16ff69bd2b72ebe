"""Reading the addresses of the workers from `TF_CONFIG`."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
from typing import NamedTuple

# "[::1]:2222", "10.0.0.1:2222", "worker-0.example:2222".
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]\s]+)\]|(?P<host>[\w.-]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_RULE = (
    '`TF_CONFIG` must be JSON such as {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": '
    '"worker", "index": 0}}, and the cluster must have only workers'
)


class Address(NamedTuple):
    """The address of a worker, and `text`, as `TF_CONFIG` spells it."""

    text: str
    host: str
    port: int


def read_workers() -> tuple[list[Address], int]:
    """Return the addresses of the workers in `TF_CONFIG` and the index of this worker; ([], 0) if it is not set."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return [], 0
    workers, index = _workers_and_index(text)
    found: dict[tuple[str, int], Address] = {}
    for each in workers:
        address = _address(each)
        first = found.setdefault(address[1:], address)
        if first is not address:
            raise ValueError(f"`TF_CONFIG` must list each worker once. Received: {first.text!r} and {each!r}")
    return list(found.values()), index


def _workers_and_index(text: str) -> tuple[list, int]:
    # Each of these errors means that a part is missing or has another type; deeply nested lists exhaust the stack.
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError, RecursionError):
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        workers, index = jobs["worker"], task["index"]
        only_workers = not any(addresses for job, addresses in jobs.items() if job != "worker")
        is_index = type(index) is int and 0 <= index < len(workers)  # `isinstance` would accept True.
        if only_workers and task["type"] == "worker" and isinstance(workers, list) and is_index:
            return workers, index
    raise ValueError(f"{_RULE}. Received: TF_CONFIG={text[:1000]!r}")


def _address(text: object) -> Address:
    parts = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if parts and 1 <= int(parts["port"]) <= 65535:
        with contextlib.suppress(ValueError):
            host = str(ipaddress.IPv6Address(parts["six"])) if parts["six"] else parts["host"].lower()
            return Address(str(text), host, int(parts["port"]))
    raise ValueError(
        "`TF_CONFIG` must list workers as 'host:port', or '[address]:port' for IPv6, with ports from 1 to 65535. "
        f"Received: {text!r}"
    )
