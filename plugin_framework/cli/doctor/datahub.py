"""From the address to the signature: each step of a call to Datahub."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.exchange import ask, credentials_of, plain
from plugin_framework.cli.doctor.finding import Check, Told
from plugin_framework.errors import (
    AuthenticationError,
    Code,
    ConfigurationError,
    DatahubError,
    InvalidAnswerError,
    RejectedError,
)
from plugin_framework.protocol.answer import data_of
from plugin_framework.protocol.signing import VALIDITY_SECONDS
from plugin_framework.protocol.transport import chosen_proxy

WORTH_A_WARNING = 60.0
"""Seconds that the clock may be off before that is said."""

DAYS_TO_RENEW = 14
"""A certificate that ends within so many days is one to renew."""

CONNECT_SECONDS = 4.5
_DAY = 86_400
_FORBIDDEN = 403
_MOST_SHOWN = 4
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a connection goes: Datahub, or the proxy before it."""

    host: str
    port: int
    who: str


def base_url(case: Case) -> Iterator[Told]:
    """Whether there is an address at all."""
    variable = "DATAHUB_BASE_URL"
    if case.settings.base_url is not None:
        yield "ok", case.settings.base_url
    elif case.reading.given.get(variable):
        yield (
            "fail",
            f"{variable} is wrong, so Datahub cannot be asked",
            "correct it",
            Code.SETTING_WRONG,
        )
    else:
        remedy = "set it to Datahub's address (`run --local` and `dev` need none)"
        yield "fail", f"{variable} is not set", remedy, Code.SETTING_MISSING


def proxy(case: Case) -> Iterator[Told]:
    """Which proxy there is, if any."""
    url = httpx.URL(case.settings.require_datahub())
    chosen = plain(case.settings.proxy)
    try:
        via = chosen_proxy(chosen, url)
    except ConfigurationError as error:
        remedy = "correct DATAHUB_PROXY, or the environment's proxy variables"
        yield "fail", str(error), remedy, error.code
        return
    if via is not None:
        yield "ok", f"{via.url.scheme}://{via.url.netloc.decode()}, for Datahub and storage"
    elif chosen == "env":
        yield "ok", f"none: the environment names none for {url.host}"
    elif name := _unused_proxy(url.scheme, case.reading.environ):
        yield "ok", f"none ({name} is set, and only used with DATAHUB_PROXY=env)"
    else:
        yield "ok", "none"


def _unused_proxy(scheme: str, environ: Mapping[str, str]) -> str | None:
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    return next((name for name in names if environ.get(name)), None)


def _place(case: Case) -> Place:
    url = httpx.URL(case.settings.require_datahub())
    via = chosen_proxy(plain(case.settings.proxy), url)
    target = via.url if via else url
    port = target.port or _PORTS[target.scheme]
    return Place(target.host, port, "the proxy" if via else "Datahub")


def address(case: Case) -> Iterator[Told]:
    """Whether the name has addresses."""
    place = _place(case)
    try:
        found = addresses(place)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        yield (
            "fail",
            f"{place.host}, the name of {place.who}, does not resolve ({reason})",
            (
                "see that it is spelt right, and that this machine has a working name server"
                " (/etc/resolv.conf)"
            ),
            Code.CONNECTION_FAILED,
        )
        return
    if found == [place.host]:
        yield "ok", f"{place.host} is no name, and needs no look-up"
        return
    shown = ", ".join(found[:_MOST_SHOWN]) + (", ..." if len(found) > _MOST_SHOWN else "")
    yield "ok", f"{place.host} is {shown}"


def addresses(place: Place) -> list[str]:
    """All addresses of the name, in the order in which they are tried."""
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def connection(case: Case) -> Iterator[Told]:
    """Whether something listens there."""
    place = _place(case)
    give_up_at = time.monotonic() + CONNECT_SECONDS
    refusals = []
    for number in addresses(place):
        began = time.monotonic()
        try:
            left = max(give_up_at - began, 0.01)
            socket.create_connection((number, place.port), timeout=left).close()
        except OSError as error:
            refusals.append((number, error))
            continue
        took = (time.monotonic() - began) * 1000
        yield "ok", f"{place.who} takes connections at {number} port {place.port} ({took:.0f} ms)"
        yield from (_silent(place, *refusal) for refusal in refusals)
        return
    yield _no_connection(place, *refusals[-1])


def _silent(place: Place, number: str, error: OSError) -> Told:
    said = f"{number} port {place.port} is tried before, and does not answer ({_reason(error)})"
    remedy = (
        "every new connection loses time there: have the address removed from the name, or the way"
        " to it mended"
    )
    return "warn", said, remedy


def _no_connection(place: Place, number: str, error: OSError) -> Told:
    if isinstance(error, ConnectionRefusedError):
        remedy = "nothing listens there: see that host and port are right, and that it is running"
    else:
        remedy = (
            "see that this machine may reach it: firewall, network policy, VPN, or a proxy that"
            " DATAHUB_PROXY should name"
        )
    said = f"no connection to {place.who} at {number} port {place.port} ({_reason(error)})"
    return "fail", said, remedy, Code.CONNECTION_FAILED


def _reason(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or "refused")


def tls(case: Case) -> Iterator[Told]:
    """Whether the certificate is trusted, and for how long it will be."""
    url = urlsplit(case.settings.require_datahub())
    exchange = case.exchange
    if exchange.trouble == "settings":
        remedy = "name a PEM file with certificates of authorities"
        yield "fail", exchange.reason, remedy, Code.CA_BUNDLE_UNREADABLE
    elif url.scheme == "http":
        yield _without_tls(url.hostname or "")
    elif exchange.trouble == "tls":
        yield _no_tls(exchange.reason)
    elif exchange.certificate is None:
        yield "skip", f"not known: {exchange.reason or 'no certificate was shown'}"
    else:
        shown = exchange.certificate
        days = int((shown.ends - time.time()) // _DAY)
        until = time.strftime("%Y-%m-%d", time.gmtime(shown.ends))
        said = f"{shown.protocol}, certificate by {shown.issuer}, good until {until} ({days} days)"
        if days < DAYS_TO_RENEW:
            yield "warn", said, "have whoever runs Datahub renew it in time"
        else:
            yield "ok", said


def _without_tls(host: str) -> Told:
    if host in {"localhost", "::1"} or host.startswith("127."):
        return "ok", "none: http:// to this machine"
    return "warn", f"none: http:// to {host} can be read and changed on its way", "use https://"


def _no_tls(reason: str) -> Told:
    lower = reason.lower()
    if "expired" in lower:
        remedy = "have it renewed where Datahub runs; see that this machine's date is right, too"
    elif "not yet valid" in lower:
        remedy = "see that this machine's date is right"
    elif "mismatch" in lower or "not valid for" in lower:
        remedy = "use the host name that the certificate is for in DATAHUB_BASE_URL"
    elif "issuer" in lower or "self-signed" in lower or "self signed" in lower:
        remedy = "set DATAHUB_CA_BUNDLE to a PEM file with the authority that issued it"
    elif "ssl" in lower:
        remedy = "see that the port is one for https://"
        return "fail", f"no TLS with the server ({reason})", remedy, Code.CONNECTION_FAILED
    else:
        remedy = "see what certificate the server shows, and who issued it"
    said = f"the certificate is not trusted ({reason})"
    return "fail", said, remedy, Code.CERTIFICATE_UNTRUSTED


def answer(case: Case) -> Iterator[Told]:
    """Whether what answers is Datahub."""
    exchange = case.exchange
    if exchange.answer is None:
        yield _no_answer(exchange.trouble or "", exchange.reason)
        return
    try:
        data_of(exchange.answer, time.time())
    except (AuthenticationError, RejectedError):
        pass  # an answer, too: what it means is for the next checks
    except InvalidAnswerError as error:
        refused = error.code is Code.REJECTED_ON_THE_WAY
        said = f"HTTP {exchange.answer.status}, and not by Datahub" if refused else str(error)
        forbidden = exchange.answer.status == _FORBIDDEN
        yield "fail", said, _LET_THROUGH if forbidden else _WRONG_ADDRESS, error.code
        return
    except DatahubError as error:
        remedy = "try again later; ask whoever runs Datahub if it stays so"
        yield "fail", str(error), remedy, error.code
        return
    yield "ok", f"HTTP {exchange.answer.status} from GET /api/task/notify"


_WRONG_ADDRESS = (
    "see that DATAHUB_BASE_URL is Datahub's address up to where its paths begin with /api"
)

_LET_THROUGH = (
    "a firewall or proxy before Datahub refuses the call: have it let this machine through, and see"
    " that DATAHUB_BASE_URL is Datahub's address"
)


def _no_answer(trouble: str, reason: str) -> Told:
    if trouble == "proxy":
        remedy = "the proxy refuses: see its user name and password, and what it lets through"
    elif trouble == "answer":
        remedy = "see that the port is one for http:// (or https://, where it begins so)"
    else:
        remedy = "try again; a proxy or load balancer in between may have broken it off"
    code = Code.INVALID_ANSWER if trouble == "answer" else Code.NO_WHOLE_ANSWER
    return "fail", f"no answer ({reason})", remedy, code


def clock(case: Case) -> Iterator[Told]:
    """How far this machine's clock is from Datahub's."""
    ahead = case.exchange.ahead
    if ahead is None:
        yield "skip", "Datahub's answer has no Date to compare with"
        return
    off = abs(ahead)
    if off <= WORTH_A_WARNING:
        yield "ok", f"within {max(off, 1):.0f} s of Datahub's"
        return
    said = f"this machine's clock is {off:.0f} s {'behind' if ahead > 0 else 'ahead of'} Datahub's"
    remedy = "set it by NTP (timedatectl set-ntp true)"
    if off > VALIDITY_SECONDS:
        said = f"{said}: signatures are valid for {VALIDITY_SECONDS} s"
        yield "fail", said, remedy, Code.NOT_AUTHENTICATED
    else:
        yield "warn", f"{said}; at {VALIDITY_SECONDS} s signatures are refused", remedy


def signature(case: Case) -> Iterator[Told]:
    """Whether Datahub accepts the key and the secret, or the token."""
    credentials = credentials_of(case.settings)
    exchange = case.exchange
    if left_out := [row.variable for row in case.reading.rows if row.wrong and row.secret]:
        yield "skip", f"not looked at, because of {', '.join(left_out)}"
        return
    assert exchange.answer is not None  # the check before this one has seen to it
    means = "the signature" if credentials.sign else "the token"
    if not credentials.sign and credentials.token is None:
        yield from _bare(refused=exchange.answer.unauthenticated)
        return
    late = exchange.ahead is not None and abs(exchange.ahead) > VALIDITY_SECONDS
    if exchange.answer.unauthenticated and credentials.sign and late:
        again = ask(case.settings, ahead=exchange.ahead or 0.0)
        if again.answer is not None and not again.answer.unauthenticated:
            yield "warn", "accepted, but only when signed by Datahub's clock", "mend the clock"
            return
    if exchange.answer.unauthenticated:
        wrong = "DATAHUB_API_KEY and DATAHUB_API_SECRET" if credentials.sign else "DATAHUB_TOKEN"
        remedy = f"see that {wrong} are as Datahub has them for this plugin, without quotes"
        yield "fail", f"Datahub does not accept {means}", remedy, Code.NOT_AUTHENTICATED
    elif _FORBIDDEN in {exchange.answer.status, int(exchange.answer.code)}:
        remedy = "ask whoever runs Datahub what this key may do"
        yield "fail", "Datahub forbids the call", remedy, Code.REJECTED
    else:
        yield "ok", f"{means} is accepted"


def _bare(*, refused: bool) -> Iterator[Told]:
    remedy = "set DATAHUB_API_KEY and DATAHUB_API_SECRET"
    if refused:
        said = "calls are not signed, and Datahub does not accept that"
        yield "fail", said, remedy, Code.NOT_AUTHENTICATED
    else:
        yield "warn", "calls are not signed, and Datahub accepts that", remedy


CHECKS = (
    Check("datahub", base_url),
    Check("proxy", proxy, ("datahub",)),
    Check("address", address, ("proxy",), stuck=Code.CONNECTION_FAILED),
    Check("connection", connection, ("address",), stuck=Code.CONNECTION_FAILED),
    Check("tls", tls, ("connection",), stuck=Code.NO_WHOLE_ANSWER),
    Check("answer", answer, ("tls",), stuck=Code.NO_WHOLE_ANSWER),
    Check("clock", clock, ("answer",)),
    Check("signature", signature, ("answer",), 10.0, Code.NO_WHOLE_ANSWER),
)
