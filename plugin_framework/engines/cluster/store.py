"""What all nodes and the service share: leases, endings, saved state, and the nodes themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.records import (
    Ending,
    Kept,
    Lease,
    NodeRecord,
    SharedUpload,
    Sight,
)
from plugin_framework.errors import ClusterConfigurationError, Code
from plugin_framework.journal.journal import Journal
from plugin_framework.journal.uploads import KeptPart, Output
from plugin_framework.settings import Settings

if TYPE_CHECKING:
    from pydantic import SecretStr

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class LeaseStore(Protocol):
    """One of the stores. Safe to use from several threads; a write that has returned is kept.

    ``guarantee`` is one line on how far that goes. Of an attempt that holds a lease, nothing is
    written once another has it.

    Raises:
        StoreUnreachableError: by every method; what was to be written may have been.
        LeaseLostError: by those that take a ``Lease``, except ``release``.
    """

    guarantee: str

    def doubts(self) -> list[str]:
        """What of the server's configuration may break the guarantee, a line each."""

    def open(self, service: str, subtask_ids: Sequence[str]) -> set[str]:
        """Have a row for each; returns those that were handed over already.

        One whose ending was noticed has been created anew by Datahub: all but its number goes.
        """

    def handed(self, subtask_ids: Collection[str]) -> None:
        """Note that the engine has them."""

    def look(self, subtask_id: str) -> Sight | None:
        """The subtask's lease; None where there is no row."""

    def acquire(self, subtask_id: str, node: str, *, seen: Sight | None) -> Lease | None:
        """Take the lease, with the next number, if it still is as it was ``seen``.

        None: somebody was faster, and one must look again.
        """

    def renew(self, leases: Sequence[Lease]) -> set[str]:
        """Add a beat to those that are still held by the same; returns their subtasks' ids."""

    def release(self, lease: Lease) -> None:
        """Give it back, if it is still held: who comes next need not wait."""

    def set_begun(self, lease: Lease, *, begun: bool) -> None:
        """Note whether the attempt has begun, and counts as lost if it is never heard of again."""

    def ending(self, subtask_id: str) -> Ending | None:
        """What the subtask has ended as, whether Datahub knows or not."""

    def end(self, lease: Lease, ending: Ending) -> Ending:
        """Write the ending, unless there is one; returns the one that stands."""

    def end_unheld(self, subtask_id: str, ending: Ending) -> Ending | None:
        """As ``end``, of a subtask that nobody holds; None: somebody does, and nothing is done."""

    def settle(self, subtask_id: str, fate: Literal["delivered", "refused"]) -> None:
        """Note that Datahub acknowledged the ending, or refused it for good; the lease stays.

        What was acknowledged stays so.
        """

    def load(self, lease: Lease) -> Kept:
        """What the attempts before this one left."""

    def save_state(self, lease: Lease, state: Mapping[str, Any]) -> None:
        """Keep the state that the next attempt is to start from."""

    def begin_upload(self, lease: Lease, upload: SharedUpload) -> None:
        """Note an upload in place of an earlier one of its name; of the same id, parts stay."""

    def keep_part(
        self, lease: Lease, name: str, upload_id: str, index: int, part: KeptPart
    ) -> None:
        """Note that a part is stored, unless another upload has taken its upload's place."""

    def complete_upload(self, lease: Lease, output: Output, upload_id: str) -> None:
        """List an output that is complete, and forget the URLs of its upload."""

    def held(self, service: str) -> dict[str, Sight]:
        """The leases of a service's subtasks that have not ended, of those taken at least once."""

    def ended(self, service: str) -> list[tuple[str, Ending]]:
        """The endings that the service has not noticed yet and that are no longer pending.

        The oldest come first, and not all at once where they are many.
        """

    def noticed(self, subtask_ids: Collection[str]) -> None:
        """The service's journal has their endings."""

    def beat(self, node: NodeRecord) -> float:
        """Write a node's record; returns the store's clock, in Unix seconds."""

    def nodes(self) -> list[NodeRecord]:
        """All records of nodes, by name, of those that are gone without ``leave`` too."""

    def leave(self, name: str) -> None:
        """Remove a node's record."""

    def learn(self, fact: str, value: Any) -> None:
        """Keep a JSON value that others should know, by the name of the fact."""

    def learn_first(self, fact: str, value: Any) -> Any:
        """As ``learn``, unless something is known; returns what is then."""

    def known(self, fact: str) -> Any:
        """What was learnt; None if nothing."""

    def prune(self, before: float) -> int:
        """Remove what ended before that Unix time and was noticed, and nodes that wrote last then.

        What no service has opened needs no notice.
        """

    def close(self) -> None:
        """Close all connections."""


def open_store(settings: Settings, journal: Journal) -> LeaseStore:
    """The store that the settings name, else the journal.

    Raises:
        ClusterConfigurationError: it cannot keep what it is given, its client library is missing,
            or the journal is to serve more machines than one.
        StoreUnreachableError: it cannot be reached.
    """
    if settings.store_url is None:
        _refuse_several_machines(settings.broker_url)
        return JournalStore(journal)
    url = settings.store_url.get_secret_value()
    return _kind_of(url)(url)


def demand_client(settings: Settings) -> None:
    """See that what the store of the settings is reached by is installed.

    Raises:
        ClusterConfigurationError: it is not.
    """
    if settings.store_url is not None:
        _kind_of(settings.store_url.get_secret_value())


def _kind_of(url: str) -> Callable[[str], LeaseStore]:
    extra = "postgres" if url.startswith("postgresql:") else "redis"
    try:
        # Here, for each takes a library that the others do without.
        if extra == "postgres":
            from plugin_framework.engines.cluster.postgres import PostgresStore  # noqa: PLC0415 - see above

            return PostgresStore
        from plugin_framework.engines.cluster.redis import RedisStore  # noqa: PLC0415 - see above
    except ImportError:
        raise ClusterConfigurationError(
            "DATAHUB_STORE_URL needs the client of its store: pip install"
            f" 'datahub-plugin-framework[{extra}]'",
            code=Code.EXTRA_MISSING,
        ) from None
    return RedisStore


def _refuse_several_machines(broker_url: SecretStr | None) -> None:
    host = urlsplit(broker_url.get_secret_value()).hostname if broker_url else None
    if host is not None and host not in _LOOPBACK:
        raise ClusterConfigurationError(
            f"the broker is on {host}, but DATAHUB_STORE_URL is not set: the journal serves one"
            " machine alone",
            code=Code.STORE_UNSUITABLE,
        )
