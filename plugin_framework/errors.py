"""The error tree, grouped by what the caller does about it.

DatahubError
├── ConfigurationError          mend it and start again (exit 2)
│   ├── SettingsError             a variable is missing or wrong
│   ├── PluginNotFoundError       no plugin of that name is installed
│   ├── PluginLoadError           it is installed, and cannot be used
│   └── InvalidConfigError        the task's config does not validate
├── RetryableError              Datahub may answer the next attempt
│   ├── ConnectionFailedError     no connection, or it broke
│   ├── ServerUnavailableError    408, 429, 5xx, or code 500
│   └── InvalidAnswerError        an answer that is not the protocol's
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
└── TaskError                   the task failed (status 5)
    ├── PluginError               raised by authors: a message for people
    ├── InvalidResultError        what process returned cannot be sent
    └── PluginCrashedError        the plugin's process died

TaskInterrupted                 a BaseException: ``except Exception`` must not swallow it
└── TaskCancelled                 raised in the author's code at a checkpoint
"""

from __future__ import annotations

from collections.abc import Iterable


class DatahubError(Exception):
    """The root of all errors this framework raises."""


class ConfigurationError(DatahubError):
    """Something the operator can mend before starting again.

    ``problems`` holds one line for each thing that is wrong.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class SettingsError(ConfigurationError):
    """An environment variable (or ``.env`` line, or secret file) is missing or wrong."""


class PluginNotFoundError(ConfigurationError):
    """No installed plugin has the name that was asked for."""


class PluginLoadError(ConfigurationError):
    """The plugin is installed, but cannot be imported or is not a usable plugin."""


class InvalidConfigError(ConfigurationError):
    """A task's config does not validate against the plugin's ``Config``."""


class RetryableError(DatahubError):
    """A call failed in a way that the next attempt may not.

    Attributes:
        unknown_outcome: the request may have been applied (it was sent, no answer came).
        retry_after: seconds the server asked us to wait, if it did.
    """

    def __init__(
        self, message: str, *, unknown_outcome: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.unknown_outcome = unknown_outcome
        self.retry_after = retry_after


class ConnectionFailedError(RetryableError):
    """No connection could be made, or it broke or timed out before an answer came."""


class ServerUnavailableError(RetryableError):
    """Datahub answered that it cannot serve now (408, 429, 5xx, or code 500)."""


class InvalidAnswerError(RetryableError):
    """Datahub's answer is not the protocol's: truncated, not JSON, or of another shape."""


class FinalError(DatahubError):
    """A call was refused for good: repeating it would change nothing."""


class RejectedError(FinalError):
    """Datahub refused the call: a business error, code 1 or 400 and the like.

    Attributes:
        code: the envelope's code, or the HTTP status where there was none.
        by_datahub: an envelope said so; else it may have been a proxy, or a wrong address.
    """

    def __init__(self, message: str, code: int, *, by_datahub: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.by_datahub = by_datahub


class UnusableAnswerError(FinalError):
    """Datahub says that a call succeeded, but answers with data that cannot be used."""


class AuthenticationError(FinalError):
    """Datahub does not accept our key, secret or token."""


class CertificateError(FinalError):
    """The server's TLS certificate is not to be trusted."""


class TransferError(DatahubError):
    """A file could not be moved to or from storage."""


class StorageError(TransferError):
    """The object store refused a request.

    ``status`` is its HTTP status; ``code`` and ``request_id`` are its own, where it gave them.
    """

    def __init__(
        self, message: str, *, status: int, code: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class StorageUnreachableError(TransferError):
    """No connection to storage could be made, or it broke, stalled or was cut short."""


class AddressRefusedError(TransferError):
    """A storage URL of a scheme, host or address that we do not talk to."""


class SourceChangedError(TransferError):
    """The file changed while it was being sent, so what was stored is of no use."""


class ObjectChangedError(TransferError):
    """The object in storage changed while it was being read, so its parts do not fit together."""


class LocalFileError(TransferError):
    """A local file or folder cannot be read or written."""


class JournalError(DatahubError):
    """The journal cannot be opened, read or written."""


class JournalDamagedError(JournalError):
    """The journal was damaged, removed or replaced while it was in use."""


class JournalFullError(JournalError):
    """The disk takes no more of the journal."""


class TaskLockedError(DatahubError):
    """The subtask is already running on this machine."""


class TaskError(DatahubError):
    """The task failed: it ends with status 5."""


class PluginError(TaskError):
    """Raise it in a plugin to fail the task with a message for people and no traceback."""


class InvalidResultError(TaskError):
    """What ``process`` returned is not JSON, or is larger than a result may be."""


class PluginCrashedError(TaskError):
    """The plugin's process died: killed by a signal, by ``os._exit``, or out of memory."""


class TaskInterrupted(BaseException):
    """The task must stop. Not an Exception, so that ``except Exception`` cannot swallow it."""


class TaskCancelled(TaskInterrupted):
    """The task was cancelled; raised by ``ctx.checkpoint()`` and all that calls it."""
