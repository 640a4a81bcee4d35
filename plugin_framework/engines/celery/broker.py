"""A RabbitMQ by its address: connections to it, and its refusals in one line each."""

from __future__ import annotations

import ipaddress
import re
import shlex
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from amqp.exceptions import (
    AccessRefused,
    AMQPError,
    ConnectionForced,
    NotAllowed,
    PreconditionFailed,
)
from kombu.transport.pyamqp import Connection
from kombu.utils.url import parse_url

from plugin_framework.errors import (
    BrokerUnavailableError,
    ClusterConfigurationError,
    ClusterError,
    Code,
)
from plugin_framework.protocol.transport import lacks_tls
from plugin_framework.settings import Settings

LEAST = (3, 10)
"""The first RabbitMQ whose quorum queues are relied on."""
ANSWER_SECONDS = 10.0
"""How long an answer on a connection is waited for."""
FAILURES: tuple[type[Exception], ...] = (AMQPError, OSError)
"""What the client library raises where a connection cannot be made or used."""

_PORTS = {"amqp": 5672, "amqps": 5671}


class UnconfirmedError(TimeoutError):
    """Messages for a queue were not confirmed in time."""

    def __init__(self, queue: str) -> None:
        super().__init__(queue)
        self.queue: str = queue


class Broker:
    """The RabbitMQ that the settings name; nothing is connected by making one.

    ``address`` is host and port, for people. ``url`` has the password, for Celery.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.broker_url is not None  # the settings demand it of this engine
        parts = parse_url(settings.broker_url.get_secret_value())
        self._host: str = parts["hostname"]
        self.port: int = parts["port"] or _PORTS[parts["transport"]]
        self._user: str = parts["userid"] or "guest"
        self._password: str = parts["password"] or "guest"
        self._vhost: str = parts["virtual_host"] or "/"
        self._seconds = settings.connect_timeout
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.address: str = f"{host}:{self.port}"
        self.tls: Mapping[str, Any] | None = (
            _tls(self._host, settings) if parts["transport"] == "amqps" else None
        )

    @property
    def url(self) -> str:
        """Where Celery finds it, with the client library that is used here."""
        login, password, vhost = (
            quote(each, safe="") for each in (self._user, self._password, self._vhost)
        )
        return f"pyamqp://{login}:{password}@{self.address}/{vhost}"

    @property
    def on_this_machine(self) -> bool:
        """Whether its address is one that never leaves this machine."""
        try:
            return ipaddress.ip_address(self._host).is_loopback
        except ValueError:
            return self._host == "localhost"

    @property
    def connect_seconds(self) -> float:
        """How long one connection may take to be made."""
        return self._seconds

    def connect(self, name: str) -> Connection:
        """A new connection, which is listed at the broker by the ``name``.

        Raises:
            BrokerUnavailableError: nobody answers, or not as a broker does.
            ClusterConfigurationError: it refuses us, or is too old.
        """
        connection = Connection(
            self.address,
            self._user,
            self._password,
            login_method="PLAIN",
            virtual_host=self._vhost,
            ssl=self.tls or False,
            connect_timeout=self._seconds,
            client_properties={"connection_name": name},
        )
        try:
            connection.connect()
            connection.sock.settimeout(ANSWER_SECONDS)
        except FAILURES as error:
            greeting = connection.server_properties
            connection.collect()
            raise self._too_old(greeting) or self.unwelcome(error) from None
        if refused := self._too_old(connection.server_properties):
            connection.collect()
            raise refused
        return connection

    def refusal(self, error: Exception) -> ClusterError | ClusterConfigurationError:
        """What an error means that came up on a connection."""
        if isinstance(error, AccessRefused):
            return ClusterConfigurationError(
                f"the broker at {self.address} does not give user {self._user!r} all permissions"
                f" in its virtual host {self._vhost!r}: {_said(error)}",
                code=Code.VHOST_REFUSED,
            )
        if isinstance(error, PreconditionFailed):
            return ClusterConfigurationError(
                f"the broker at {self.address} has a queue in place of the quorum queue that is"
                f" needed: {_said(error)}",
                code=Code.QUEUE_WRONG,
            )
        if isinstance(error, UnconfirmedError):
            delete = f"rabbitmqctl delete_queue -p {shlex.quote(self._vhost)} {error.queue}"
            return BrokerUnavailableError(
                f"the broker at {self.address} does not confirm messages for queue {error.queue}:"
                f" if that lasts, the queue has lost its leader; delete it ({delete}), and it is"
                " made and filled again by itself"
            )
        if isinstance(error, TimeoutError):
            return BrokerUnavailableError(f"the broker at {self.address} does not answer in time")
        if isinstance(error, ConnectionForced):
            return BrokerUnavailableError(
                f"the broker at {self.address} has closed the connection: {_said(error)}"
            )
        hint = "; no TLS is spoken there: amqp:// instead?" if lacks_tls(error) else ""
        return BrokerUnavailableError(
            f"the broker at {self.address} cannot be reached: {_said(error)}{hint}",
            code=_certificate(error),
        )

    def unwelcome(self, error: Exception) -> ClusterError | ClusterConfigurationError:
        """What an error means that came up before the connection was open."""
        if isinstance(error, AccessRefused):
            return ClusterConfigurationError(
                f"the broker at {self.address} does not accept the password of user"
                f" {self._user!r}, or does not know the user: {_said(error)}",
                code=Code.BROKER_REFUSED,
            )
        if isinstance(error, NotAllowed):
            return ClusterConfigurationError(
                f"the broker at {self.address} does not let user {self._user!r} into the virtual"
                f" host {self._vhost!r}: {_said(error)}",
                code=Code.VHOST_REFUSED,
            )
        return self.refusal(error)

    def _too_old(self, greeting: Mapping[str, Any]) -> ClusterConfigurationError | None:
        if not greeting:  # there was none
            return None
        product = str(greeting.get("product", "something without a name"))
        if product == "RabbitMQ" and version_of(greeting) >= LEAST:
            return None
        least = ".".join(map(str, LEAST))
        return ClusterConfigurationError(
            f"the broker at {self.address} is {product} {greeting.get('version', '')}:"
            f" expected RabbitMQ {least} or later",
            code=Code.BROKER_TOO_OLD,
        )


def version_of(greeting: Mapping[str, Any]) -> tuple[int, int]:
    """The first two numbers of the version in a connection's ``server_properties``."""
    found = re.match(r"(\d+)\.(\d+)", str(greeting.get("version", "")))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _tls(host: str, settings: Settings) -> dict[str, Any]:
    return {
        "context": {
            "cafile": str(settings.ca_bundle) if settings.ca_bundle else None,
            "check_hostname": True,
        },
        "server_hostname": host,
        # Later, by the client library: only then does the handshake have a time limit.
        "do_handshake_on_connect": False,
    }


def _certificate(error: Exception) -> Code | None:
    untrusted = isinstance(error, ssl.SSLCertVerificationError)
    return Code.CERTIFICATE_UNTRUSTED if untrusted else None


def _said(error: Exception) -> str:
    """The reason alone, on one line."""
    if isinstance(error, AMQPError):
        reason = re.sub(r"^[A-Z_]+ - ", "", str(error.reply_text or type(error).__name__))
    else:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(reason.split())
