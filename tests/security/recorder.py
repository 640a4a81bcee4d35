"""A forwarder on loopback that keeps what it passes on: it knows what was secret on the wire."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

_SIGNATURE = re.compile(rb"(?im)^d-signature: *([0-9a-f]{64})")
_QUERY = re.compile(rb"https?://[^\"\\ ?]+\?([^\"\\ ]+)")
_CREDENTIAL = re.compile(rb"X-Amz-(?:Signature|Credential)=([^&\"\\ ]+)")


class Recorder:
    """``url`` leads to ``target``, whose answers tell presigned URLs."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (str(parts.hostname), int(parts.port or 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._passed = bytearray()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def secrets(self) -> dict[str, str]:
        """Every signature that was sent, and every query, signature and credential handed out."""
        with self._lock:
            passed = bytes(self._passed)
        found = {
            "signature": _SIGNATURE.findall(passed),
            "presigned query": _QUERY.findall(passed),
            "of a presigned query": _CREDENTIAL.findall(passed),
        }
        return {
            f"{kind} {number}": value.decode()
            for kind, values in found.items()
            for number, value in enumerate(dict.fromkeys(values), 1)
        }

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        kept = bytearray()
        with suppress(OSError):
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
        with self._lock:
            self._passed += b"\n" + kept
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        source.close()
