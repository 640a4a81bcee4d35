"""Whether the object storage that is known by name can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.exchange import Exchange, get
from plugin_framework.cli.doctor.finding import Check, Told
from plugin_framework.engines.local import is_local
from plugin_framework.errors import AddressRefusedError, Code, StorageUnreachableError
from plugin_framework.settings import Settings
from plugin_framework.transfer.address import Guard

VARIABLE = "DATAHUB_TRANSFER__ALLOWED_HOSTS"

_ANOTHER_PORT = (
    "see that this machine may reach it; where it is served at another port, nothing is wrong"
)


def checks(settings: Settings) -> tuple[Check, ...]:
    """One for each host that is named in full, and one for what is not."""
    named = [host for host in settings.transfer.allowed_hosts if "*" not in host]
    return (
        Check("storage", _unnamed),
        *(Check("storage", _Host(host), stuck=Code.STORAGE_UNREACHABLE) for host in named),
    )


def _unnamed(case: Case) -> Iterator[Told]:
    hosts = case.settings.transfer.allowed_hosts
    if not hosts:
        yield (
            "skip",
            "any host is allowed, and which it is only Datahub's URLs say",
            f"name storage hosts in {VARIABLE} to have them looked at",
        )
    for pattern in hosts:
        if "*" in pattern:
            yield "skip", f"{pattern} stands for any number of hosts", f"name one in {VARIABLE}"


class _Host:
    """Looks at one host."""

    def __init__(self, host: str) -> None:
        self._host = f"[{host}]" if ":" in host else host

    def __call__(self, case: Case) -> Iterator[Told]:
        """Say whether it may be talked to, and answers."""
        settings, url = case.settings, self._url(case.settings.base_url or "")
        guard = Guard(settings.transfer.allowed_hosts, is_local(settings.base_url))
        try:
            if settings.proxy is None:  # else the proxy looks the name up
                guard.resolve(guard.check(url))
        except AddressRefusedError as error:
            yield "fail", str(error), f"name another host in {VARIABLE}", error.code
        except StorageUnreachableError as error:
            yield "fail", str(error), f"see that it is spelt right in {VARIABLE}", error.code
        else:
            yield self._answer(get(settings, url, {}, []), url)

    def _url(self, base_url: str) -> str:
        """Its own address where it is Datahub's host, too; else the usual one."""
        parts = urlsplit(base_url)
        own = parts.netloc.rpartition(":")[0] if parts.port else parts.netloc
        return (
            f"{parts.scheme}://{parts.netloc}/" if own == self._host else f"https://{self._host}/"
        )

    def _answer(self, found: Exchange, url: str) -> Told:
        if found.answer is not None:
            return "ok", f"{url} answers (HTTP {found.answer.status})"
        if found.trouble == "tls" and "SSL" not in found.reason:
            said = f"the certificate of {self._host} is not trusted ({found.reason})"
            remedy = "set DATAHUB_CA_BUNDLE to a PEM file with the authorities of all hosts"
            return "fail", said, remedy, Code.CERTIFICATE_UNTRUSTED
        said = f"{url} does not answer ({found.reason})"
        return "warn", said, _ANOTHER_PORT, Code.STORAGE_UNREACHABLE
