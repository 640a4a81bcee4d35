"""HTTP/1.1 over sockets that keep one deadline for a whole attempt.

An httpx timeout bounds each read, so a server that sends a byte now and then holds a call for
as long as it likes. Here every operation on a socket is given what is left of the attempt.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from plugin_framework.errors import Code, ConfigurationError
from plugin_framework.protocol.userinfo import is_read_whole

_WRITE_SIZE = 64 * 1024
_IDLE_CONNECTIONS = 32
_IDLE_SECONDS = 30.0
_BREAK = struct.pack("ii", 1, 0)  # SO_LINGER: drop what is not sent yet, and reset

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


@dataclass(slots=True)
class Attempt:
    """One attempt at a call. ``expires`` is monotonic seconds.

    ``breaking``: when it is given up, so is what is under way.
    """

    expires: float
    breaking: bool = False
    peer_closed: bool = False  # the server ended the connection while we were reading
    distrust: str | None = None  # why the server's certificate is not trusted

    def left(self, timeout: float | None) -> float:
        """The seconds an operation may take; negative where none are left."""
        left = self.expires - time.monotonic()
        return left if timeout is None else min(left, timeout)


_attempt: ContextVar[Attempt] = ContextVar("_attempt")


@contextmanager
def limited_to(seconds: float, *, breaking: bool = False) -> Iterator[Attempt]:
    """Give all that this thread does over a ``DeadlineTransport`` one common deadline."""
    attempt = Attempt(time.monotonic() + seconds, breaking)
    token = _attempt.set(attempt)
    try:
        yield attempt
    finally:
        _attempt.reset(token)


class _Stream(httpcore.NetworkStream):
    """A connection, as httpcore sees it."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        attempt = _attempt.get()
        if (left := attempt.left(timeout)) <= 0:
            raise httpcore.ReadTimeout("timed out")
        data = self._stream.read(max_bytes, left)
        attempt.peer_closed = not data
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In pieces: the stream below gives each send of a long buffer the same timeout anew.
        for start in range(0, len(buffer), _WRITE_SIZE):
            if (left := _attempt.get().left(timeout)) <= 0:
                raise httpcore.WriteTimeout("timed out")
            self._stream.write(buffer[start : start + _WRITE_SIZE], left)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        attempt = _attempt.get()
        if (left := attempt.left(timeout)) <= 0:
            raise httpcore.ConnectTimeout("timed out")
        try:
            return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))
        except httpcore.ConnectError as error:
            # Noted here, since httpcore drops the cause on its way up.
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                attempt.distrust = error.__cause__.verify_message
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        attempt = _attempt.get(None)
        if attempt is not None and attempt.breaking and attempt.left(None) <= 0:
            # Else the kernel would go on sending it, once the network is back.
            connection: socket.socket = self._stream.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BREAK)
        self._stream.close()


class _Backend(httpcore.SyncBackend):
    """Connects within the attempt's deadline, whatever the number of addresses."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in _addresses(host, port):
            if (left := _attempt.get().left(timeout)) <= 0:
                raise httpcore.ConnectTimeout("timed out")
            try:
                stream = super().connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        raise failure


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(error) from error
    return [str(address[0]) for *_, address in found]


class DeadlineTransport(httpx.HTTPTransport):
    """An httpx transport for use inside ``limited_to``; HTTP/1.1, connections kept."""

    def __init__(self, *, tls: ssl.SSLContext | None, proxy: httpx.Proxy | None) -> None:
        # httpx builds its pool in __init__ and takes no network backend, so ours replaces it.
        settings: dict[str, Any] = {
            "ssl_context": tls,
            "max_connections": None,  # bounded by the callers' threads
            "max_keepalive_connections": _IDLE_CONNECTIONS,
            "keepalive_expiry": _IDLE_SECONDS,
            "network_backend": _Backend(),
        }
        self._pool = _pool(settings, proxy)


def _pool(settings: dict[str, Any], proxy: httpx.Proxy | None) -> httpcore.ConnectionPool:
    if proxy is None:
        return httpcore.ConnectionPool(**settings)
    secure = proxy.url.scheme == "https"
    return httpcore.HTTPProxy(
        httpcore.URL(
            scheme=proxy.url.raw_scheme,
            host=proxy.url.raw_host,
            port=proxy.url.port,
            target=proxy.url.raw_path,
        ),
        proxy_auth=proxy.raw_auth,
        proxy_ssl_context=settings["ssl_context"] if secure else None,
        **settings,
    )


def lacks_tls(error: Exception) -> bool:
    """Whether who answered a TLS handshake speaks something else, plain text most likely."""
    return any(each in str(error) for each in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"))


def chosen_proxy(proxy: str | None, url: httpx.URL) -> httpx.Proxy | None:
    """The proxy to reach ``url`` by: none, the environment's (``"env"``), or the one named.

    Raises:
        ConfigurationError: it is no http or https URL. The URL may hold a password, so the
            message does not show it.
    """
    address = _environment_proxy(url) if proxy == "env" else proxy
    if not address:
        return None
    if not is_read_whole(address):
        raise ConfigurationError(
            "the proxy's user name and password must be percent-encoded: @ as %40, / as %2F",
            code=Code.PROXY_WRONG,
        )
    try:
        found = httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):
        raise ConfigurationError(
            "the proxy's address is not a URL", code=Code.PROXY_WRONG
        ) from None
    if found.url.scheme not in {"http", "https"}:
        raise ConfigurationError(
            "the proxy's address must begin with http:// or https://", code=Code.PROXY_WRONG
        )
    return found


def _environment_proxy(url: httpx.URL) -> str | None:
    if proxy_bypass(url.host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def trust(ca_bundle: Path | None) -> ssl.SSLContext:
    """The system's trusted authorities, or those of the bundle alone.

    Raises:
        ConfigurationError: the bundle cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:
        reason = error.strerror or "not certificates in PEM form"
        raise ConfigurationError(
            f"DATAHUB_CA_BUNDLE (or SSL_CERT_FILE) {ca_bundle}: {reason}",
            code=Code.CA_BUNDLE_UNREADABLE,
        ) from None
