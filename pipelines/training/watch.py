"""Ranks watch each other: when one fails or dies, all others stop within seconds and say why.

A collective waits for a lost rank for half an hour, on a GPU without even noticing a signal. So every rank holds a
connection of its own to rank 0. A rank that fails says why over it; one that is killed loses it, which the kernel
notices (a machine that vanishes: after `KEEPALIVE`). Rank 0 passes the cause on. A rank told so has
`GRACE` seconds to leave on its own; then its watching thread ends the process.
"""

import json
import logging
import os
import secrets
import selectors
import socket
import threading
from types import TracebackType

import torch.distributed as dist

from viral.errors import ViralError, one_line

log = logging.getLogger(__name__)
GRACE = 5.0
KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3))
"""Eleven seconds of silence end a connection."""


class RankError(ViralError, RuntimeError):
    """Another rank of the run has failed."""


class Stopped(KeyboardInterrupt):
    """A stop that all ranks have agreed on, after a checkpoint."""


class Watch:
    """Context of a run: an exception that leaves it on one rank ends it on all.

    Raises:
        RankError: on the ranks that did not fail themselves.
    """

    def __init__(self, rank: int, size: int, store: dist.Store) -> None:
        self._rank = rank
        self._peers = _accept(size, store) if rank == 0 else _connect(rank, store)
        self._cause: str | None = None
        self._failed, self._left = threading.Event(), threading.Event()
        # A forked data worker that held these open would hide the death of its parent.
        os.register_at_fork(after_in_child=self._close)
        self._thread = threading.Thread(target=self._listen, name="watch", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        broken = isinstance(error, RuntimeError) and not isinstance(error, ViralError)
        if broken:  # perhaps a collective that has lost a rank: why, comes by another way
            self._failed.wait(GRACE)
        if self._cause is None:
            self._tell(self._rank, None if error is None or isinstance(error, Stopped) else _describe(error))
        self._left.set()
        if broken and self._cause is not None:
            raise RankError(self._cause) from error

    def raise_cause(self) -> None:
        """Wait for the news of a failure that is known to have happened elsewhere, and raise it."""
        self._failed.wait(GRACE)
        raise RankError(self._cause or "Another rank stopped without saying why.")

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for peer, rank in self._peers.items():
                selector.register(peer, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    news = _read(key.fileobj)  # type: ignore[arg-type]
                    selector.unregister(key.fileobj)
                    if news is None:
                        self._fail(key.data, "it died without a word (killed, or out of memory?)")
                    elif news["cause"] is not None:
                        self._fail(news["rank"], news["cause"])

    def _fail(self, rank: int, cause: str) -> None:
        if self._cause is not None:
            return
        self._cause = f"Rank {rank} stopped: {cause}"
        if self._rank == 0:
            self._tell(rank, cause)
        self._failed.set()
        if not self._left.wait(GRACE):
            log.error("error: %s", self._cause)
            os._exit(2)

    def _tell(self, rank: int, cause: str | None) -> None:
        line = json.dumps({"rank": rank, "cause": cause}).encode() + b"\n"
        for peer in self._peers:
            try:
                peer.sendall(line)
            except OSError:  # that one has left already
                continue

    def _close(self) -> None:
        for peer in self._peers:
            peer.close()


def _describe(error: BaseException) -> str:
    text = one_line(error) if isinstance(error, Exception) else "interrupted"
    return text if isinstance(error, ViralError) else f"{type(error).__name__}: {text}"


def _accept(size: int, store: dist.Store) -> dict[socket.socket, int]:
    """Rank 0 takes one connection of every other rank; a token keeps strangers out."""
    peers: dict[socket.socket, int] = {}
    token = secrets.token_hex(16)
    with socket.create_server(("", 0), backlog=size) as server:
        store.set("watch", json.dumps({"port": server.getsockname()[1], "token": token}))
        while len(peers) < size - 1:
            peer, _ = server.accept()
            peer.settimeout(10)
            hello = _read(peer)
            peer.settimeout(None)
            if hello is None or hello.get("token") != token:
                peer.close()
                continue
            peers[_keep_alive(peer)] = hello["rank"]
    return peers


def _connect(rank: int, store: dist.Store) -> dict[socket.socket, int]:
    meeting = json.loads(store.get("watch"))
    peer = socket.create_connection((os.environ["MASTER_ADDR"], meeting["port"]))
    peer.sendall(json.dumps({"rank": rank, "token": meeting["token"]}).encode() + b"\n")
    return {_keep_alive(peer): 0}


def _keep_alive(peer: socket.socket) -> socket.socket:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        peer.setsockopt(socket.IPPROTO_TCP, option, value)
    return peer


def _read(peer: socket.socket) -> dict | None:
    """One line of JSON; None if the connection ended first."""
    data = b""
    while b"\n" not in data:
        try:
            more = peer.recv(4096)
        except OSError:
            return None
        if not more:
            return None
        data += more
    found = json.loads(data.split(b"\n")[0])
    assert isinstance(found, dict)
    return found
