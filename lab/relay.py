"""A port of this machine that leads into a namespace, for a person's browser and for tests."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from lab.network import Namespace, Network

CHUNK = 64 << 10


class Relay:
    """Listens on 127.0.0.1:`port` and connects each client to `host`:`to` in a namespace.

    port: any free one when 0.
    """

    def __init__(
        self, net: Network, namespace: Namespace, host: str, to: int, *, port: int = 0
    ) -> None:
        self.net, self.namespace, self.host, self.to = net, namespace, host, to
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Wakes the accept, which close alone would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                there = self.net.connect(self.namespace, self.host, self.to)
            except OSError:
                return
            with there:
                there.settimeout(None)
                back = threading.Thread(target=_copy, args=(there, client), daemon=True)
                back.start()
                _copy(client, there)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
