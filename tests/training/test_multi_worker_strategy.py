"""Which workers the first worker accepts and what it ignores; these tests start no TensorFlow server."""

import concurrent.futures
import contextlib
import json
import selectors
import socket
import threading
import time

import pytest
import tensorflow as tf

from tfpyramid import training
from tfpyramid.training import _rendezvous, _tf_config

LONG = 60  # Seconds; nothing here waits as long unless it fails.


def free_port(family=socket.AF_INET, host="127.0.0.1"):
    with socket.socket(family) as one:
        one.bind((host, 0))
        return one.getsockname()[1]


def addresses(count, host="127.0.0.1"):
    texts = [f"{host}:{free_port()}" for _ in range(count)]
    return [_tf_config._address(text) for text in texts]


def config(workers, index=0, **others):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}, **others})


@pytest.fixture
def connected():
    """Return a connection to a worker, as soon as it listens."""
    with contextlib.ExitStack() as connections:

        def connect(worker):
            while True:
                with contextlib.suppress(ConnectionRefusedError):
                    return connections.enter_context(socket.create_connection(worker[1:], timeout=LONG))
                time.sleep(0.01)

        yield connect


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield pool


def gathering(threads, workers, seconds=LONG):
    return threads.submit(_rendezvous.wait_for_workers, workers, time.monotonic() + seconds)


LINES = [b"99\n", b"-5\n", b"0\n", b"3\n", b"x\n", b"\n", b"1.0\n", b"True\n", b"\xff\xfe\n", b"1" * 10**6]


def test_strangers_change_nothing(connected, threads):
    workers = addresses(3)
    gathered = gathering(threads, workers)
    for _ in range(20):
        connected(workers[0])  # And sends nothing.
    for line in LINES:
        stranger = connected(workers[0])
        with contextlib.suppress(OSError):
            stranger.sendall(line)
    slow = connected(workers[0])
    slow.sendall(b"1")  # The rest of its line never comes.
    started = time.monotonic()
    joined = [threads.submit(_rendezvous.join_first_worker, workers, k, time.monotonic() + LONG) for k in (1, 2)]
    assert [each.result() for each in joined] == [[], []] and gathered.result() == []
    assert time.monotonic() - started < LONG / 10


def test_an_endless_line_is_not_remembered(connected, threads):
    workers = addresses(2)
    gathered, done = gathering(threads, workers), threading.Event()

    def talk():
        while not done.is_set():
            with contextlib.suppress(OSError), connected(workers[0]) as stranger:
                while not done.is_set():
                    stranger.sendall(b"1" * 1000)

    talking = threads.submit(talk)
    assert _rendezvous.join_first_worker(workers, 1, time.monotonic() + LONG) == [] and gathered.result() == []
    done.set()
    with socket.create_server(workers[0][1:]) as server:  # It may be waiting to connect.
        server.settimeout(1)
        with contextlib.suppress(OSError):
            server.accept()[0].close()
    talking.result()


def test_an_index_counts_once_and_only_while_its_worker_is_there(connected):
    workers = addresses(3)
    with contextlib.ExitStack() as stack:
        connections = _rendezvous._Connections(workers, stack)
        server = stack.enter_context(socket.create_server(workers[0][1:]))
        connections.selector.register(server, selectors.EVENT_READ)

        def wait_until(condition):
            while not condition():
                connections.wait(time.monotonic() + LONG)

        first, again, restarted = (connected(workers[0]) for _ in range(3))
        wait_until(lambda: len(connections._pending) == 3)
        first.sendall(b"1\n")
        wait_until(lambda: 1 in connections.workers)
        counted = connections.workers[1]
        again.sendall(b"1\n")
        wait_until(lambda: len(connections._pending) == 1)
        assert again.recv(10) == b"" and connections.workers == {1: counted}  # The second with this index is sent away.
        first.close()
        wait_until(lambda: not connections.workers)
        restarted.sendall(b"1\n")
        wait_until(lambda: 1 in connections.workers)
        assert connections.workers[1] is not counted


def test_callers_that_send_nothing_are_sent_away(connected, threads, monkeypatch):
    monkeypatch.setattr(_rendezvous, "_LINE_TIMEOUT", 0.1)
    monkeypatch.setattr(_rendezvous, "_MOST_PENDING", 3)
    workers = addresses(2)
    gathered = gathering(threads, workers)
    for _ in range(2):
        silent = [connected(workers[0]) for _ in range(5)]
        assert all(each.recv(10) == b"" for each in silent)
    assert _rendezvous.join_first_worker(workers, 1, time.monotonic() + LONG) == [] and gathered.result() == []


@pytest.mark.slow
def test_a_worker_that_does_not_start_is_named_to_all_others(threads, monkeypatch):
    workers = addresses(3)
    monkeypatch.setenv("TF_CONFIG", config([worker.text for worker in workers]))
    told = threads.submit(_rendezvous.join_first_worker, workers, 1, time.monotonic() + LONG)
    with pytest.raises(TimeoutError, match=f"1 of the 3 .* did not start within 2 s: .'{workers[2].text}'"):
        training.multi_worker_strategy(2)
    assert told.result() == [workers[2].text]


def test_a_first_worker_that_does_not_start_is_named(monkeypatch):
    workers = [worker.text for worker in addresses(2)]
    monkeypatch.setenv("TF_CONFIG", config(workers, 1))
    with pytest.raises(TimeoutError, match=f"1 of the 2 .* did not start within 0.2 s: .'{workers[0]}'"):
        training.multi_worker_strategy(0.2)


ANSWERS = [b"{}\n", b'["stranger"]\n', b"[1]\n", b"null\n", b"[[]]\n", b"[" * 10**5, b"\xff\n", b"", b"9" * 200]


@pytest.mark.parametrize("answer", [*ANSWERS, "own address", "first address"], ids=lambda answer: str(answer)[:12])
def test_only_missing_workers_are_believed(answer, threads):
    workers = addresses(3)
    named = {"own address": 1, "first address": 0}.get(answer)
    answer = answer if named is None else json.dumps([workers[named].text]).encode() + b"\n"
    with socket.create_server(workers[0][1:]) as server:
        joined = threads.submit(_rendezvous.join_first_worker, workers, 1, time.monotonic() + LONG)
        for reply in (answer, b'["%s"]\n' % workers[2].text.encode()):
            connection = server.accept()[0]
            assert connection.recv(10) == b"1\n"
            with contextlib.suppress(OSError):
                connection.sendall(reply)
            connection.close()
        assert joined.result() == [workers[2].text]


def test_an_answer_that_never_ends_is_not_waited_for():
    workers = addresses(2)
    with socket.create_server(workers[0][1:]), pytest.raises(TimeoutError):
        with socket.create_connection(workers[0][1:]) as connection:
            _rendezvous._line(connection, 10, time.monotonic() + 0.1)


def test_the_first_worker_listens_at_its_address_only():
    workers = addresses(2, host="127.0.0.2")
    (server,) = _rendezvous._listen(workers, time.monotonic() + LONG)
    with server:
        assert server.getsockname() == workers[0][1:]


def test_names_and_ipv6_addresses_work(threads):
    for host in ("localhost", "[::1]"):
        workers = addresses(2, host)
        gathered = gathering(threads, workers)
        assert _rendezvous.join_first_worker(workers, 1, time.monotonic() + LONG) == [] and gathered.result() == []


def test_a_name_that_only_this_machine_resolves_to_itself_listens_for_others(monkeypatch):
    own = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 2222))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: own)
    first = _tf_config._address("debian:2222")
    for other, expected in (("10.0.0.2:2222", ""), ("debian:2223", "127.0.1.1"), ("localhost:2223", "127.0.1.1")):
        places = _rendezvous._socket_addresses([first, _tf_config._address(other)], time.monotonic())
        assert places == [(socket.AF_INET, (expected, 2222))]


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(host, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config([f"{host}:2222", "127.0.0.1:2222"]))
    with pytest.raises(
        ValueError,
        match=f"`TF_CONFIG` must list an address of this machine.*as the first worker.*Received: '{host}:2222': ",
    ):
        training.multi_worker_strategy(0.1)


def test_a_port_in_use_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("TF_CONFIG", config([text, "127.0.0.1:1"]))
        with pytest.raises(
            ValueError, match=f"`TF_CONFIG` must .* with a free port as the first worker. Received: '{text}'"
        ):
            training.multi_worker_strategy(1)


def test_without_other_workers_the_strategy_is_the_default(monkeypatch):
    for text in ("", config(["127.0.0.1:2222"]), config(["[::1]:2222"], environment="cloud")):
        monkeypatch.setenv("TF_CONFIG", text)
        assert training.multi_worker_strategy() is tf.distribute.get_strategy()


TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]
TEXTS = [
    *("{", "[]", "{}", "null", "7", "[" * 10**5, "1" * 10**4, '{"cluster": [], "task": []}', "\x00"),
    *(config(workers) for workers in ("10.0.0.1:2222", [], None, 3, {"0": TWO[0]})),
    *(config(TWO, index) for index in (-1, 2, True, 0.0, "0", None, [0], 10**30)),
    '{"cluster": {"worker": ["10.0.0.1:2222"]}, "task": {"type": "chief", "index": 0}}',
    '{"cluster": {"worker": ["10.0.0.1:2222"], "chief": ["10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}',
    '{"cluster": {"worker": ["10.0.0.1:2222"], "ps": ["10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}',
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20])
def test_a_tf_config_that_cannot_be_read_is_an_error(text, monkeypatch):
    monkeypatch.setattr(_tf_config.os, "environ", {"TF_CONFIG": text})
    with pytest.raises(ValueError, match="`TF_CONFIG` must be JSON such as.*Received: TF_CONFIG="):
        training.multi_worker_strategy()


HOSTS = ["10.0.0.1", ":2222", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1: 2222", "::1:2222"]
HOSTS += ["[::1]", "[::g]:2222", "[10.0.0.1]:2222", "grpc://10.0.0.1:2222", "a b:2222", "10.0.0.1:٢", "", 2222, None]


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_addresses_are_checked(host, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config(["10.0.0.9:2222", host]))
    with pytest.raises(ValueError, match="`TF_CONFIG` must list workers as 'host:port'.*Received: "):
        training.multi_worker_strategy()


@pytest.mark.parametrize("other", ["10.0.0.1:2222", "10.0.0.1:02222"])
def test_addresses_are_named_once(other, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config(["10.0.0.1:2222", other]))
    with pytest.raises(ValueError, match="`TF_CONFIG` must list each worker once. Received: '10.0.0.1:2222' and"):
        training.multi_worker_strategy()


@pytest.mark.parametrize("timeout", [0, -1, None, "1", True, float("nan"), float("inf"), 10**400, 1e300, [1.0, 2.0]])
def test_the_timeout_is_checked(timeout):
    with pytest.raises(ValueError, match="`timeout` must be .*Received: timeout="):
        training.multi_worker_strategy(timeout)
