"""The store in Redis, for many machines.

Each call is one script there, and so is done as a whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import islice
from typing import Any, Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from plugin_framework.engines.cluster.records import (
    Ending,
    Kept,
    Lease,
    NodeRecord,
    SharedUpload,
    Sight,
)
from plugin_framework.engines.cluster.sql_store import MOST_AT_ONCE, MOST_ENDED, lost
from plugin_framework.errors import ClusterConfigurationError, Code, StoreUnreachableError
from plugin_framework.journal.uploads import KeptPart, Output

FORMAT = "1"
_ANSWER_SECONDS = 2.0
"""How long to wait for a connection, and for an answer."""
_REFUSALS = (redis.AuthenticationError, redis.exceptions.NoPermissionError)
_NO_DATABASE = "DB index is out of range"
_FIRST = Sight(0, 0, "", held=False)


class RedisStore:
    """The leases in a server's database, in keys that begin with ``datahub:``; a ``LeaseStore``.

    Raises:
        ClusterConfigurationError: the address, or how the server is configured, cannot be used,
            or it refuses the user, the password or the database.
        StoreUnreachableError: the server cannot be reached.
    """

    guarantee = (
        "Redis: what is written outlives its crash where it has appendonly yes and appendfsync"
        " always; a failover to a replica may forget the last moments"
    )

    def __init__(self, url: str) -> None:
        try:
            # Nothing is tried again here: what was asked may have been done.
            self._redis = redis.Redis.from_url(
                url,
                decode_responses=True,
                socket_timeout=_ANSWER_SECONDS,
                socket_connect_timeout=_ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:
            # What is said of an address may have its password in it.
            raise ClusterConfigurationError(
                "DATAHUB_STORE_URL is not as Redis has them", code=Code.STORE_UNSUITABLE
            ) from None
        script = files(__package__).joinpath("leases.lua").read_text(encoding="utf-8")
        self._script = self._redis.register_script(script)
        try:
            self._refuse_other_formats()
            _refuse_forgetful(self._configuration())
        except redis.RedisError as error:
            raise _refusal(error) or _unreachable(error) from None

    def doubts(self) -> list[str]:
        """See ``LeaseStore.doubts``."""
        try:
            found = self._configuration()
        except redis.RedisError as error:
            raise _unreachable(error) from None
        if "appendfsync" not in found:
            return ["how it writes cannot be read (CONFIG GET is refused)"]
        if found["appendfsync"] != "always":
            return [f"appendfsync is {found['appendfsync']}: a crash may forget a second, or more"]
        return []

    def close(self) -> None:
        """See ``LeaseStore.close``."""
        self._redis.close()

    def open(self, service: str, subtask_ids: Sequence[str]) -> set[str]:
        """See ``LeaseStore.open``."""
        return {
            each for some in _batches(subtask_ids) for each in self._run("open", service, *some)
        }

    def handed(self, subtask_ids: Collection[str]) -> None:
        """See ``LeaseStore.handed``."""
        for some in _batches(subtask_ids):
            self._run("handed", *some)

    def look(self, subtask_id: str) -> Sight | None:
        """See ``LeaseStore.look``."""
        found = self._run("look", subtask_id)
        return _sight(*found) if found else None

    def acquire(self, subtask_id: str, node: str, *, seen: Sight | None) -> Lease | None:
        """See ``LeaseStore.acquire``."""
        as_seen = seen or _FIRST
        found = self._run(
            "acquire", subtask_id, node, as_seen.number, as_seen.beats, int(as_seen.held)
        )
        return Lease(subtask_id, found[0], node, found[1]) if found else None

    def renew(self, leases: Sequence[Lease]) -> set[str]:
        """See ``LeaseStore.renew``."""
        return set(self._run("renew", *(each for lease in leases for each in _of(lease))))

    def release(self, lease: Lease) -> None:
        """See ``LeaseStore.release``."""
        self._run("release", *_of(lease))

    def set_begun(self, lease: Lease, *, begun: bool) -> None:
        """See ``LeaseStore.set_begun``."""
        self._fenced("set_begun", lease, str(int(begun)))

    def ending(self, subtask_id: str) -> Ending | None:
        """See ``LeaseStore.ending``."""
        found = self._run("ending", subtask_id)
        return _ending(*found) if found else None

    def end(self, lease: Lease, ending: Ending) -> Ending:
        """See ``LeaseStore.end``."""
        text = json.dumps(ending.as_json())
        return _ending(*self._fenced("finish", lease, text, ending.fate))

    def end_unheld(self, subtask_id: str, ending: Ending) -> Ending | None:
        """See ``LeaseStore.end_unheld``."""
        text = json.dumps(ending.as_json())
        found = self._run("end_unheld", subtask_id, text, ending.fate)
        return _ending(*found) if found else None

    def settle(self, subtask_id: str, fate: Literal["delivered", "refused"]) -> None:
        """See ``LeaseStore.settle``."""
        self._run("settle", subtask_id, fate)

    def load(self, lease: Lease) -> Kept:
        """See ``LeaseStore.load``."""
        state, found = self._fenced("load", lease)
        fields = dict(zip(found[::2], found[1::2], strict=True))
        return Kept(json.loads(state), _uploads(fields), _outputs(fields))

    def save_state(self, lease: Lease, state: Mapping[str, Any]) -> None:
        """See ``LeaseStore.save_state``."""
        self._fenced("save_state", lease, json.dumps(state))

    def begin_upload(self, lease: Lease, upload: SharedUpload) -> None:
        """See ``LeaseStore.begin_upload``."""
        facts = [upload.upload_id, upload.size, upload.chunk, upload.part_size]
        self._fenced("begin_upload", lease, upload.name, json.dumps(facts), upload.sealed_urls)

    def keep_part(
        self, lease: Lease, name: str, upload_id: str, index: int, part: KeptPart
    ) -> None:
        """See ``LeaseStore.keep_part``."""
        which = json.dumps([name, upload_id, index])
        self._fenced("keep_part", lease, which, json.dumps([part.etag, part.digest]))

    def complete_upload(self, lease: Lease, output: Output, upload_id: str) -> None:
        """See ``LeaseStore.complete_upload``."""
        listed = json.dumps([output.name, output.size, output.sha256])
        self._fenced("complete_upload", lease, output.name, upload_id, listed)

    def held(self, service: str) -> dict[str, Sight]:
        """See ``LeaseStore.held``."""
        return {subtask_id: _sight(*sight) for subtask_id, sight in self._run("held", service)}

    def ended(self, service: str) -> list[tuple[str, Ending]]:
        """See ``LeaseStore.ended``."""
        return [
            (subtask_id, _ending(*kept))
            for subtask_id, kept in self._run("ended", service, MOST_ENDED)
        ]

    def noticed(self, subtask_ids: Collection[str]) -> None:
        """See ``LeaseStore.noticed``."""
        for some in _batches(subtask_ids):
            self._run("noticed", *some)

    def beat(self, node: NodeRecord) -> float:
        """See ``LeaseStore.beat``."""
        return float(self._run("beat", node.name, json.dumps(node.as_json())))

    def nodes(self) -> list[NodeRecord]:
        """See ``LeaseStore.nodes``."""
        records = self._do("HGETALL", "datahub:nodes")
        return [NodeRecord.of(json.loads(record)) for _, record in sorted(records.items())]

    def leave(self, name: str) -> None:
        """See ``LeaseStore.leave``."""
        self._run("leave", name)

    def learn(self, fact: str, value: Any) -> None:
        """See ``LeaseStore.learn``."""
        self._do("HSET", "datahub:facts", fact, json.dumps(value))

    def learn_first(self, fact: str, value: Any) -> Any:
        """See ``LeaseStore.learn_first``."""
        self._do("HSETNX", "datahub:facts", fact, json.dumps(value))
        return self.known(fact)

    def known(self, fact: str) -> Any:
        """See ``LeaseStore.known``."""
        found = self._do("HGET", "datahub:facts", fact)
        return None if found is None else json.loads(found)

    def prune(self, before: float) -> int:
        """See ``LeaseStore.prune``."""
        removed = 0
        while some := int(self._run("prune", repr(before), MOST_AT_ONCE)):
            removed += some
        return removed

    def _refuse_other_formats(self) -> None:
        self._redis.set("datahub:format", FORMAT, nx=True)
        found = str(self._redis.get("datahub:format"))
        if found != FORMAT:
            raise ClusterConfigurationError(
                f"the store in Redis is of format {found}, and this framework's is {FORMAT}: have"
                " all nodes and the service run the same release",
                code=Code.STORE_UNSUITABLE,
            )

    def _configuration(self) -> dict[str, str]:
        """How the server keeps what it is given; empty where it does not tell."""
        try:
            # One at a time: before 7.0 it takes no more.
            found = {**self._redis.config_get("append*"), **self._redis.config_get("maxmemory*")}
        except redis.ResponseError:
            return {}
        return {str(name): str(value) for name, value in found.items()}

    def _run(self, name: str, *values: str | float) -> Any:
        return self._ask(self._script, args=[name, *values])

    def _do(self, *command: str) -> Any:
        return self._ask(self._redis.execute_command, *command)

    def _fenced(self, name: str, lease: Lease, *values: str) -> Any:
        found = self._run(name, *_of(lease), *values)
        if found is None:
            raise lost(lease)
        return found

    def _ask(self, how: Any, *given: Any, **named: Any) -> Any:
        try:
            return how(*given, **named)
        except redis.RedisError as error:
            raise _unreachable(error) from None


def _batches(subtask_ids: Collection[str]) -> Iterator[tuple[str, ...]]:
    left = iter(subtask_ids)
    while some := tuple(islice(left, MOST_AT_ONCE)):
        yield some


def _refuse_forgetful(found: Mapping[str, str]) -> None:
    problems = []
    if found.get("appendonly") == "no":
        problems.append("it forgets all at a restart (appendonly is no, and must be yes)")
    if found.get("maxmemory", "0") != "0" and found["maxmemory-policy"] != "noeviction":
        problems.append(
            "it forgets when its memory is full (maxmemory-policy is"
            f" {found['maxmemory-policy']}, and must be noeviction)"
        )
    if problems:
        raise ClusterConfigurationError(
            f"the store in Redis cannot be used: {'; '.join(problems)}", code=Code.STORE_UNSUITABLE
        )


def _refusal(error: redis.RedisError) -> ClusterConfigurationError | None:
    if not (isinstance(error, _REFUSALS) or _NO_DATABASE in str(error)):
        return None
    return ClusterConfigurationError(
        f"the store in Redis refuses the user, the password or the database ({_line(error)})",
        code=Code.STORE_REFUSED,
    )


def _unreachable(error: redis.RedisError) -> StoreUnreachableError:
    return StoreUnreachableError(
        f"the store in Redis cannot be reached, or refuses ({_line(error)})"
    )


def _line(error: redis.RedisError) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _of(lease: Lease) -> tuple[str, int, str]:
    return lease.subtask_id, lease.number, lease.node


def _sight(number: int, beats: int, node: str, held: int) -> Sight:
    return Sight(number, beats, node, held=bool(held))


def _ending(text: str, fate: Literal["pending", "delivered", "refused"]) -> Ending:
    return Ending.of(json.loads(text), fate)


def _uploads(fields: Mapping[str, str]) -> tuple[SharedUpload, ...]:
    parts: dict[tuple[str, str], dict[int, KeptPart]] = {}
    for which, kept in _of_kind("p:", fields):
        name, upload_id, index = json.loads(which)
        parts.setdefault((name, upload_id), {})[index] = KeptPart(*json.loads(kept))
    found = []
    for name, facts in _of_kind("u:", fields):
        upload_id, size, chunk, part_size = json.loads(facts)
        found.append(
            SharedUpload(
                name,
                upload_id,
                size,
                chunk,
                part_size,
                sealed_urls=fields.get(f"x:{name}", ""),
                parts=parts.get((name, upload_id), {}),
                completed=fields.get(f"c:{name}") == upload_id,
            )
        )
    return tuple(found)


def _outputs(fields: Mapping[str, str]) -> tuple[Output, ...]:
    return tuple(Output(*json.loads(kept)) for _, kept in _of_kind("o:", fields))


def _of_kind(kind: str, fields: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted((field[2:], value) for field, value in fields.items() if field[:2] == kind)
