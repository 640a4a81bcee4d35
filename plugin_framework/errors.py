"""The error tree, grouped by what the caller does about it.

DatahubError
├── ConfigurationError          mend it and start again (exit 2)
│   ├── SettingsError             a variable is missing or wrong
│   ├── PluginNotFoundError       no plugin of that name is installed
│   ├── PluginLoadError           it is installed, and cannot be used
│   ├── InvalidConfigError        the task's config does not validate
│   └── ClusterConfigurationError  broker, store or nodes are not fit for their work
├── RetryableError              Datahub may answer the next attempt
│   ├── ConnectionFailedError     no connection, or it broke
│   ├── ServerUnavailableError    408, 429, 5xx, or code 500
│   ├── InvalidAnswerError        an answer that is not the protocol's
│   └── ClusterError              what many machines share is not there now
│       ├── BrokerUnavailableError  the queue
│       └── StoreUnreachableError   the store of leases and endings
├── FinalError                  the same call would fail again
│   ├── RejectedError             code 1, code 400 and the like
│   ├── UnusableAnswerError       a success whose data make no sense
│   ├── AuthenticationError       code or status 401
│   └── CertificateError          TLS trust failed
├── TransferError               bytes did not get there
│   ├── StorageError              the object store refused
│   ├── StorageUnreachableError   no connection to the store, or it broke
│   ├── AddressRefusedError       a URL we will not talk to
│   ├── SourceChangedError        the file changed while it was sent
│   ├── ObjectChangedError        the object in storage changed while it was read
│   └── LocalFileError            disk full, read-only, missing
├── JournalError                the journal cannot be read or written
│   ├── JournalDamagedError       it is damaged or gone, and will not mend itself
│   └── JournalFullError          the disk has no room for it
├── TaskLockedError             the subtask is already running here (exit 75)
├── LeaseLostError              another node has the subtask: stop, and report nothing
└── TaskError                   the task failed (status 5)
    ├── PluginError               raised by authors: a message for people
    ├── InvalidResultError        what process returned cannot be sent
    └── PluginCrashedError        the plugin's process died

TaskInterrupted                 a BaseException: ``except Exception`` must not swallow it
└── TaskCancelled                 raised in the author's code at a checkpoint
"""

from __future__ import annotations

from collections.abc import Iterable

from plugin_framework.error_codes import Code as Code  # noqa: PLC0414 - had from here, too
from plugin_framework.error_codes import Problem as Problem  # noqa: PLC0414 - as Code
from plugin_framework.redaction import redacted


def problem_of(error: BaseException, line: str) -> Problem:
    """What is told and kept of an error: no credential, and its code, the author's if not ours."""
    code = error.code if isinstance(error, DatahubError | TaskInterrupted) else Code.TASK_FAILED
    return Problem(redacted(line), Code(code))


class DatahubError(Exception):
    """The root of all errors this framework raises.

    ``code``, such as DH-101, stays the same in all releases. It is the class's own, or a finer one
    that was given where it was raised.
    """

    code: Code = Code.UNEXPECTED

    def __init__(self, *args: object, code: Code | None = None) -> None:
        super().__init__(*args)
        if code is not None:
            self.code = code

    @property
    def remedy(self) -> str:
        """One line on what to do about it."""
        return Code(self.code).remedy


class ConfigurationError(DatahubError):
    """Something the operator can mend before starting again.

    ``problems`` holds one line for each thing that is wrong; each has a ``code``.
    """

    code = Code.OPTION_WRONG

    def __init__(self, problems: str | Iterable[str], *, code: Code | None = None) -> None:
        lines = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(lines), code=code)
        self.problems: tuple[Problem, ...] = tuple(Problem(line, self.code) for line in lines)


class SettingsError(ConfigurationError):
    """An environment variable (or ``.env`` line, or secret file) is missing or wrong."""

    code = Code.SETTING_WRONG


class PluginNotFoundError(ConfigurationError):
    """No installed plugin has the name that was asked for."""

    code = Code.PLUGIN_NOT_FOUND


class PluginLoadError(ConfigurationError):
    """The plugin is installed, but cannot be imported or is not a usable plugin."""

    code = Code.PLUGIN_UNUSABLE


class InvalidConfigError(ConfigurationError):
    """A task's config does not validate against the plugin's ``Config``."""

    code = Code.CONFIG_INVALID


class ClusterConfigurationError(ConfigurationError):
    """The broker, the store or the nodes cannot do what is asked of them as they are set up.

    ``code`` says which of them, and is always given.
    """

    def __init__(self, problems: str | Iterable[str], *, code: Code) -> None:
        super().__init__(problems, code=code)


class RetryableError(DatahubError):
    """A call failed in a way that the next attempt may not.

    Attributes:
        unknown_outcome: the request may have been applied (it was sent, no answer came).
        retry_after: seconds the server asked us to wait, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        unknown_outcome: bool = False,
        retry_after: float | None = None,
        code: Code | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.unknown_outcome = unknown_outcome
        self.retry_after = retry_after


class ConnectionFailedError(RetryableError):
    """No connection could be made, or it broke or timed out before an answer came."""

    code = Code.CONNECTION_FAILED


class ServerUnavailableError(RetryableError):
    """Datahub answered that it cannot serve now (408, 429, 5xx, or code 500)."""

    code = Code.SERVER_UNAVAILABLE


class InvalidAnswerError(RetryableError):
    """An answer that is not the protocol's: truncated, not JSON, or of another shape.

    Something between here and Datahub may have given it.
    """

    code = Code.INVALID_ANSWER


class ClusterError(RetryableError):
    """Something that the machines of a cluster share cannot be used now."""


class BrokerUnavailableError(ClusterError):
    """The broker cannot be reached, or did not take a message."""

    code = Code.BROKER_UNREACHABLE


class StoreUnreachableError(ClusterError):
    """The store of leases and endings cannot be reached; what was asked may have been done."""

    code = Code.STORE_UNREACHABLE


class FinalError(DatahubError):
    """A call was refused for good: repeating it would change nothing."""


class RejectedError(FinalError):
    """Datahub refused the call: a business error, code 1 or 400 and the like.

    What others refuse on the way there is an ``InvalidAnswerError``.

    Attributes:
        api_code: the envelope's code, or 400.
    """

    code = Code.REJECTED

    def __init__(self, message: str, api_code: int) -> None:
        super().__init__(message)
        self.api_code = api_code


class UnusableAnswerError(FinalError):
    """Datahub says that a call succeeded, but answers with data that cannot be used."""

    code = Code.UNUSABLE_ANSWER


class AuthenticationError(FinalError):
    """Datahub does not accept our key, secret or token."""

    code = Code.NOT_AUTHENTICATED


class CertificateError(FinalError):
    """The server's TLS certificate is not to be trusted."""

    code = Code.CERTIFICATE_UNTRUSTED


class TransferError(DatahubError):
    """A file could not be moved to or from storage."""

    code = Code.TRANSFER_REFUSED


class StorageError(TransferError):
    """The object store refused a request.

    ``status`` is its HTTP status; ``store_code`` and ``request_id`` are its own, where it gave
    them.
    """

    code = Code.STORAGE_REFUSED

    def __init__(
        self,
        message: str,
        *,
        status: int,
        store_code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.store_code = store_code
        self.request_id = request_id


class StorageUnreachableError(TransferError):
    """No connection to storage could be made, or it broke, stalled or was cut short."""

    code = Code.STORAGE_UNREACHABLE


class AddressRefusedError(TransferError):
    """A storage URL of a scheme, host or address that we do not talk to."""

    code = Code.ADDRESS_REFUSED


class SourceChangedError(TransferError):
    """The file changed while it was being sent, so what was stored is of no use."""

    code = Code.SOURCE_CHANGED


class ObjectChangedError(TransferError):
    """The object in storage changed while it was being read, so its parts do not fit together."""

    code = Code.OBJECT_CHANGED


class LocalFileError(TransferError):
    """A local file or folder cannot be read or written."""

    code = Code.LOCAL_FILE_FAILED


class JournalError(DatahubError):
    """The journal cannot be opened, read or written."""

    code = Code.JOURNAL_UNUSABLE


class JournalDamagedError(JournalError):
    """The journal was damaged, removed or replaced while it was in use."""

    code = Code.JOURNAL_DAMAGED


class JournalFullError(JournalError):
    """The disk takes no more of the journal."""

    code = Code.JOURNAL_FULL


class TaskLockedError(DatahubError):
    """The subtask is already running on this machine."""

    code = Code.TASK_LOCKED


class LeaseLostError(DatahubError):
    """Another node has taken the subtask over: this attempt stops, and reports nothing."""

    code = Code.LEASE_LOST


class TaskError(DatahubError):
    """The task failed: it ends with status 5."""

    code = Code.TASK_FAILED


class PluginError(TaskError):
    """Raise it in a plugin to fail the task with a message for people and no traceback."""

    code = Code.PLUGIN_SAID_NO


class InvalidResultError(TaskError):
    """What ``process`` returned is not JSON, or is larger than a result may be."""

    code = Code.RESULT_INVALID


class PluginCrashedError(TaskError):
    """The plugin's process died: killed by a signal, by ``os._exit``, or out of memory."""

    code = Code.PLUGIN_CRASHED


class TaskInterrupted(BaseException):
    """The task must stop. Not an Exception, so that ``except Exception`` cannot swallow it."""

    code: Code = Code.CANCELLED

    @property
    def remedy(self) -> str:
        """One line on what to do about it."""
        return Code(self.code).remedy


class TaskCancelled(TaskInterrupted):
    """The task was cancelled; raised by ``ctx.checkpoint()`` and all that calls it."""
