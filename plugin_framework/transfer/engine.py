"""Bulk HTTP to object storage: libcurl behind two calls.

The client is bare, for the URL is the credential: no header but what the transfer needs, no
cookies, no netrc, no proxy unless asked for. The request target goes out byte for byte.
"""

from __future__ import annotations

import ipaddress
import ssl
import time
import urllib.request
import weakref
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, BinaryIO

import pycurl

from plugin_framework.errors import (
    AddressRefusedError,
    CertificateError,
    Code,
    StorageUnreachableError,
    TransferError,
)
from plugin_framework.transfer.address import Endpoint, Guard, shown, signed_headers
from plugin_framework.transfer.exchange import (
    Answer,
    BinaryWindow,
    Digest,
    Exchange,
    Sink,
    Throttle,
)
from plugin_framework.transfer.reactor import Reactors

BUFFER = 512 * 1024
"""Bytes that pass at once: more than this was no faster, and costs memory for each connection."""

REDIRECTS = 3
REDIRECTED = frozenset({307, 308})
RESOLVED_SECONDS = 60.0
_UNTRUSTED = frozenset(
    {pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_CERTPROBLEM}
)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to reach storage.

    Attributes:
        connect_timeout: seconds for name, connection and TLS together.
        low_speed_seconds: a transfer that moves no byte for this long has failed.
        ca_bundle: PEM file of trusted authorities; None: the system's (SSL_CERT_FILE honoured).
        proxy: URL of a proxy, ``env`` for what the environment says, or None.
        bandwidth: bytes per second, over all transfers of the engine.
        concurrency: parts of one file at once.
        process_concurrency: parts of all files of this process at once; None: twice the former.
        allowed_hosts: patterns; see ``Guard``.
        allow_private: whether storage may be on loopback and private addresses.
        attempts: how often one part is tried.
        backoff: seconds; the first wait between attempts is up to this, then twice that, ...
    """

    connect_timeout: float = 5.0
    low_speed_seconds: float = 60.0
    ca_bundle: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    bandwidth: int | None = None
    concurrency: int = 4
    process_concurrency: int | None = None
    allowed_hosts: tuple[str, ...] = ()
    allow_private: bool = False
    attempts: int = 8
    backoff: float = 0.5


class AbortedError(TransferError):
    """The caller's ``abort`` said so."""


class Engine:
    """Sends and fetches byte ranges. Safe to use from several threads.

    Connections are kept, and the one used last is used next, across parts and files.
    """

    def __init__(self, options: EngineOptions | None = None) -> None:
        self.options: EngineOptions = options or EngineOptions()
        self._guard = Guard(self.options.allowed_hosts, self.options.allow_private)
        self._throttle = Throttle(self.options.bandwidth) if self.options.bandwidth else None
        self._trust = _trust(self.options.ca_bundle)
        self._reactors = Reactors(alone=self._throttle is not None)
        weakref.finalize(self, self._reactors.close)
        self._resolved: dict[str, tuple[float, tuple[str, ...]]] = {}
        # All that were: a connection is kept for longer than a name means the same.
        self._checked: defaultdict[str, set[IPv4Address | IPv6Address]] = defaultdict(set)

    def put(
        self,
        url: str,
        source: BinaryWindow,
        abort: Callable[[], bool],
        *,
        moved: Callable[[int], object] | None = None,
        digest: Digest | None = None,
    ) -> Answer:
        """PUT a window of a file.

        ``moved`` is told how many of its bytes have gone so far. ``digest`` is, at the end, that of
        the bytes that were sent last: while they are in the cache it costs next to nothing.

        Raises:
            AbortedError: ``abort()`` turned true. It is asked at least once a second.
            AddressRefusedError: the URL, or a redirect's.
            CertificateError: the store's certificate is not to be trusted.
            SourceChangedError: the file ends inside the window.
            StorageUnreachableError: no connection, or it broke.
        """

        def prepare(curl: Any, exchange: Exchange) -> None:
            curl.setopt(pycurl.UPLOAD, 1)
            curl.setopt(pycurl.INFILESIZE_LARGE, source.size)
            curl.setopt(pycurl.READFUNCTION, exchange.read)
            curl.setopt(pycurl.SEEKFUNCTION, exchange.seek)

        return self._follow(
            url,
            lambda: Exchange(
                abort, moved=moved, source=source, throttle=self._throttle, digest=digest
            ),
            prepare,
            ("Expect:",),
        )

    def get(
        self,
        url: str,
        *,
        sink: Sink,
        abort: Callable[[], bool],
        start: int | None = None,
        end: int | None = None,
        etag: str | None = None,
    ) -> Answer:
        """GET bytes ``start`` to ``end`` (inclusive), or all without them, if the ETag matches.

        Raises what ``put`` does, and whatever ``sink`` raises.
        """
        headers = [] if start is None else [f"Range: bytes={start}-{'' if end is None else end}"]
        headers += [f"If-Match: {etag}"] if etag else []
        return self._follow(
            url,
            lambda: Exchange(abort, sink=sink, throttle=self._throttle),
            lambda _curl, _exchange: None,
            tuple(headers),
        )

    def close(self) -> None:
        """Close the kept connections."""
        self._reactors.close()

    def _follow(
        self,
        url: str,
        make: Callable[[], Exchange],
        prepare: Callable[[Any, Exchange], None],
        headers: tuple[str, ...],
    ) -> Answer:
        for _ in range(REDIRECTS + 1):
            exchange = make()
            answer = self._exchange(url, exchange, prepare, headers)
            location = answer.headers.get("location")
            if answer.status not in REDIRECTED or not location:
                return answer
            url = _redirected(url, location)
        raise TransferError(
            f"storage redirects too often, last to {shown(url)}", code=Code.STORAGE_REFUSED
        )

    def _exchange(
        self,
        url: str,
        exchange: Exchange,
        prepare: Callable[[Any, Exchange], None],
        headers: tuple[str, ...],
    ) -> Answer:
        endpoint = self._guard.check(url)
        _check_signed_headers(url, headers)
        proxy = self._proxy(endpoint)
        addresses = self._addresses(endpoint, proxied=bool(proxy))
        curl = pycurl.Curl()
        body = exchange.gathering()
        try:
            self._set_up(curl, exchange)
            curl.setopt(pycurl.WRITEFUNCTION, body.write)
            self._aim(curl, endpoint, addresses, proxy)
            curl.setopt(pycurl.HTTPHEADER, ["Accept:", *headers])
            prepare(curl, exchange)
            return self._perform(curl, exchange, body, endpoint, url, proxy)
        finally:
            # Connections stay. Who waits no longer, interrupted again, leaves it to the thread.
            with suppress(pycurl.error):
                curl.close()

    def _set_up(self, curl: Any, exchange: Exchange) -> None:
        options = self.options
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.USERAGENT, "datahub-plugin-framework")
        curl.setopt(pycurl.NETRC, 0)
        curl.setopt(pycurl.HTTP_CONTENT_DECODING, 0)
        curl.setopt(pycurl.BUFFERSIZE, BUFFER)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, BUFFER)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.TCP_NODELAY, 1)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(options.connect_timeout * 1000)))
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        curl.setopt(pycurl.LOW_SPEED_TIME, max(1, int(options.low_speed_seconds)))
        curl.unsetopt(pycurl.CAPATH)  # the library's own default would be trusted as well
        for option, value in self._trust.items():
            curl.setopt(option, value)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.header)
        curl.setopt(pycurl.NOPROGRESS, 0)
        curl.setopt(pycurl.XFERINFOFUNCTION, exchange.progress)

    def _aim(self, curl: Any, endpoint: Endpoint, addresses: tuple[str, ...], proxy: str) -> None:
        """Point the handle at ``endpoint``, and at no other address than those that were checked.

        The path goes past curl's URL parser, which would write ``%2f`` as ``%2F``.
        """
        absolute = proxy and not proxy.startswith("socks") and endpoint.scheme == "http"
        curl.setopt(pycurl.URL, f"{endpoint.origin}/")
        target = f"{endpoint.origin}{endpoint.target}" if absolute else endpoint.target
        curl.setopt(pycurl.REQUEST_TARGET, target)
        curl.setopt(pycurl.PROXY, proxy)
        curl.setopt(pycurl.NOPROXY, "")
        if proxy:
            return
        pinned = ",".join(f"[{each}]" if ":" in each else each for each in addresses)
        curl.setopt(pycurl.RESOLVE, [f"{endpoint.host}:{endpoint.port}:{pinned}"])
        checked = self._checked[endpoint.origin]
        checked.update(map(_parsed, addresses))
        curl.setopt(
            pycurl.PREREQFUNCTION,
            lambda remote, *_: (
                pycurl.PREREQFUNC_OK if _parsed(remote) in checked else pycurl.PREREQFUNC_ABORT
            ),
        )

    def _perform(
        self,
        curl: Any,
        exchange: Exchange,
        body: BinaryIO,
        endpoint: Endpoint,
        url: str,
        proxy: str,
    ) -> Answer:
        try:
            self._reactors.perform(curl, exchange.abort)
        except pycurl.error as error:
            body.flush()  # what has come is good, whatever became of the rest
            code, reason = error.args
            if exchange.error is not None:
                raise exchange.error from None
            if exchange.abort():
                raise AbortedError(f"the transfer of {shown(url)} was stopped") from None
            if not exchange.cut:
                self._resolved.pop(endpoint.origin, None)
                reason = _about_proxy(code) if "@" in proxy else reason
                raise _failure(code, f"{shown(url)}: {reason}") from None
        body.flush()
        return exchange.finish(int(curl.getinfo(pycurl.SIZE_UPLOAD_T)))

    def _addresses(self, endpoint: Endpoint, *, proxied: bool) -> tuple[str, ...]:
        until, addresses = self._resolved.get(endpoint.origin, (0.0, ()))
        if time.monotonic() < until:
            return addresses
        try:
            addresses = self._guard.resolve(endpoint)
        except StorageUnreachableError:
            if not proxied:  # else the name may be one that only the proxy knows
                raise
        self._resolved[endpoint.origin] = (time.monotonic() + RESOLVED_SECONDS, addresses)
        return addresses

    def _proxy(self, endpoint: Endpoint) -> str:
        proxy = self._chosen_proxy(endpoint)
        if not all("!" <= letter <= "~" for letter in proxy):
            raise TransferError(
                "the proxy's URL has spaces, control or non-ASCII characters: write each byte of"
                " those as %XX",
                code=Code.PROXY_WRONG,
            )
        return proxy

    def _chosen_proxy(self, endpoint: Endpoint) -> str:
        if self.options.proxy != "env":
            return self.options.proxy or ""
        proxies = urllib.request.getproxies()
        host = f"{endpoint.host}:{endpoint.port}"
        if urllib.request.proxy_bypass(host, proxies):
            return ""
        return proxies.get(endpoint.scheme) or proxies.get("all", "")


def _parsed(address: str) -> IPv4Address | IPv6Address:
    """The address, without the zone that curl leaves out."""
    return ipaddress.ip_address(address.partition("%")[0])


def _about_proxy(code: int) -> str:
    """What curl says, without its words: they may repeat the proxy's URL with its password."""
    if code == pycurl.E_COULDNT_RESOLVE_PROXY:
        return "the proxy's name does not resolve, or its URL is malformed"
    return f"the transfer through the proxy failed (curl's error {code})"


def _failure(code: int, message: str) -> Exception:
    if code in _UNTRUSTED:
        return CertificateError(message)
    if code == pycurl.E_ABORTED_BY_CALLBACK:  # abort() did not: so an unchecked address
        return AddressRefusedError(message)
    return StorageUnreachableError(message)


def _check_signed_headers(url: str, headers: tuple[str, ...]) -> None:
    sent = {"host", "user-agent", "content-length"}
    sent.update(header.partition(":")[0].lower() for header in headers)
    missing = ", ".join(sorted(signed_headers(url) - sent))
    if missing:
        raise TransferError(f"{shown(url)} was signed with headers that are not sent: {missing}")


def _redirected(url: str, location: str) -> str:
    """``location`` to the letter: resolving it like a browser would remove ``..`` segments."""
    scheme, _, rest = url.partition("://")
    if location.startswith("//"):
        location = f"{scheme}:{location}"
    elif location.startswith("/"):
        authority = rest.partition("?")[0].partition("/")[0]
        location = f"{scheme}://{authority}{location}"
    if scheme.lower() == "https" and not location.lower().startswith("https://"):
        raise AddressRefusedError(f"a redirect from https to {shown(location)} is refused")
    return location


def _trust(ca_bundle: Path | None) -> dict[int, str]:
    """Curl's options for the authorities to trust."""
    if ca_bundle is not None:
        return {pycurl.CAINFO: str(ca_bundle)}
    paths = ssl.get_default_verify_paths()
    found = {pycurl.CAINFO: paths.cafile, pycurl.CAPATH: paths.capath}
    system = {option: path for option, path in found.items() if path}
    if system:
        return system
    import certifi  # noqa: PLC0415 - only where the system has none

    return {pycurl.CAINFO: certifi.where()}
