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
from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """A cause of trouble by its stable code, with one line on what to do about it.

    A code is never given another meaning, and none is taken again once it is gone. By hundreds: 1
    configuration, 2 Datahub's API, 3 transfers, 4 the journal, 5 the task, 9 the framework.
    """

    remedy: str

    def __new__(cls, value: str, remedy: str = "") -> Self:
        """A member of that value."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.remedy = remedy
        return member

    USAGE = "DH-100", "Run the command with --help, and write it as shown there."
    SETTING_MISSING = (
        "DH-101",
        "Set the variable that the line names, in the environment or in .env.",
    )
    SETTING_WRONG = "DH-102", "Give the variable a value of the kind that the line expects."
    OPTION_WRONG = "DH-103", "Correct the option or the file that the line names."
    INPUT_UNREADABLE = "DH-104", "Name a file that exists and that you may read."
    FOLDER_UNUSABLE = (
        "DH-105",
        "Name another one, or make it writable for the user that runs the command.",
    )
    FOLDER_IN_USE = "DH-106", "Give each process a folder of its own, or stop the other one."
    PORT_UNUSABLE = "DH-107", "Choose another --port, or stop what listens there."
    HOST_EXPOSED = "DH-108", "Set DATAHUB_API_KEY and DATAHUB_API_SECRET, or listen on 127.0.0.1."
    CA_BUNDLE_UNREADABLE = (
        "DH-109",
        "Point DATAHUB_CA_BUNDLE (or SSL_CERT_FILE) to a PEM file of certificates.",
    )
    PROXY_WRONG = "DH-110", "Write DATAHUB_PROXY as http://HOST:PORT, with other characters as %XX."
    FAULTS_WRONG = (
        "DH-111",
        "Correct the field that the line names; docs/reference/chaos.md lists them.",
    )
    BUCKET_UNUSABLE = "DH-112", "Check --storage, --endpoint and the credentials that boto3 finds."
    PLUGIN_NOT_FOUND = (
        "DH-120",
        "See datahub-plugin list for the names, or give package.module:Class.",
    )
    PLUGIN_NOT_IMPORTED = "DH-121", "Import its module with python -c, and mend what that shows."
    PLUGIN_UNUSABLE = (
        "DH-122",
        "Make it a DatahubPlugin class at module level whose hooks have the documented parameters.",
    )
    PLUGIN_AMBIGUOUS = (
        "DH-123",
        "Uninstall all but one of the packages, or give package.module:Class.",
    )
    PLUGIN_REFERENCE_WRONG = "DH-124", "Write it as package.module:Class, without .py."
    EXTENSION_UNUSABLE = (
        "DH-125",
        "Give the hook the documented parameters, and wrap with hookimpl(wrapper=True).",
    )
    NO_MAIN_GUARD = "DH-126", 'Put what the script runs under `if __name__ == "__main__":`.'
    NO_SCHEMA = (
        "DH-127",
        "Use field types that JSON can hold, or give the field a schema of its own.",
    )
    CONFIG_INVALID = (
        "DH-130",
        "Change the keys that the lines name; datahub-plugin info NAME lists them all.",
    )
    CONFIG_UNREADABLE = (
        "DH-131",
        "Give --config a JSON object or a file with one, and --set as key=value.",
    )
    CONFIG_CHECK_FAILED = (
        "DH-132",
        "Mend the validators of the plugin's Config: they must answer soon and raise ValueError.",
    )
    CONNECTION_FAILED = (
        "DH-201",
        "Check DATAHUB_BASE_URL, the network, name resolution and DATAHUB_PROXY.",
    )
    NO_WHOLE_ANSWER = (
        "DH-202",
        "Look at Datahub's load and the network, or raise DATAHUB_REQUEST_DEADLINE.",
    )
    SERVER_UNAVAILABLE = "DH-203", "Wait and try again; if it stays so, ask Datahub's operators."
    INVALID_ANSWER = (
        "DH-204",
        "Check that DATAHUB_BASE_URL is Datahub's own address, and not a proxy's or a web page.",
    )
    REJECTED = (
        "DH-210",
        "Read Datahub's reason in the line: the subtask's id or its state is not what it expects.",
    )
    REJECTED_ON_THE_WAY = (
        "DH-211",
        "Check the path in DATAHUB_BASE_URL, and the proxies between here and Datahub.",
    )
    UNUSABLE_ANSWER = "DH-212", "Tell Datahub's operators which call answers with which data."
    NOT_AUTHENTICATED = (
        "DH-213",
        "Check DATAHUB_API_KEY, DATAHUB_API_SECRET or DATAHUB_TOKEN, and this machine's clock.",
    )
    CERTIFICATE_UNTRUSTED = (
        "DH-214",
        "Give the certificate authority in DATAHUB_CA_BUNDLE, or have the certificate renewed.",
    )
    NOT_SIGNED = (
        "DH-215",
        "Let both sides have the same key and secret, and clocks that agree within 300 seconds.",
    )
    TRANSFER_REFUSED = (
        "DH-301",
        "Tell Datahub's operators: its parts, URLs or headers do not fit the file.",
    )
    STORAGE_REFUSED = (
        "DH-302",
        "Look up the store's status and code in the line; ask its operators with the request id.",
    )
    URL_EXPIRED = (
        "DH-303",
        "Raise DATAHUB_TRANSFER__CONCURRENCY or the URLs' lifetime, and check the clocks.",
    )
    STORAGE_UNREACHABLE = (
        "DH-304",
        "Check that this machine reaches the storage host, by its name and port.",
    )
    ADDRESS_REFUSED = "DH-305", "If the host is meant, name it in DATAHUB_TRANSFER__ALLOWED_HOSTS."
    SOURCE_CHANGED = "DH-306", "Close the file before it is uploaded, and write to it no more."
    OBJECT_CHANGED = "DH-307", "Start the subtask again, and leave its input alone while it runs."
    LOCAL_FILE_FAILED = (
        "DH-308",
        "Check the path in the line, its permissions, and the free space of its disk.",
    )
    NO_RANGES = "DH-309", "Use ctx.download() in place of ctx.open_input()."
    JOURNAL_UNUSABLE = "DH-401", "Let DATAHUB_STATE_DIR be a writable folder on a local disk."
    JOURNAL_DAMAGED = (
        "DH-402",
        "Stop the processes that use it, and start again: the file is put aside.",
    )
    JOURNAL_FULL = "DH-403", "Free space on the disk of DATAHUB_STATE_DIR."
    JOURNAL_FOREIGN = "DH-404", "Upgrade the framework, or set DATAHUB_STATE_DIR to another folder."
    TASK_LOCKED = (
        "DH-405",
        "Wait for the other run to end, or stop the process that the line names.",
    )
    TASK_FAILED = "DH-501", "Read the traceback in the log, and mend the plugin."
    PLUGIN_SAID_NO = "DH-502", "Read the message: it is the plugin's own."
    RESULT_INVALID = (
        "DH-503",
        "Return a TaskResult or a mapping of JSON values, with text for keys.",
    )
    PLUGIN_CRASHED = (
        "DH-504",
        "Look for the signal in the line: a native library, os._exit, or the memory limit.",
    )
    TOOK_TOO_LONG = (
        "DH-505",
        "Raise DATAHUB_TIMEOUT_SECONDS or the plugin's timeout_seconds, or give it less work.",
    )
    STOPPED_BY_SIGNAL = (
        "DH-506",
        "Start it again; DATAHUB_ON_SHUTDOWN says what a signal makes of a running subtask.",
    )
    CANCELLED = (
        "DH-507",
        "Nothing is wrong here; if nobody meant it, look at the subtask in Datahub.",
    )
    UNEXPECTED = (
        "DH-900",
        "Report it to the framework's maintainers, with the log and its traceback.",
    )


class Problem(str):
    """One line on what is wrong, with the code of its cause."""

    __slots__ = ("code",)

    code: Code

    def __new__(cls, line: str, code: Code) -> Self:
        """The line; one that has a code keeps it."""
        made = super().__new__(cls, line)
        made.code = line.code if isinstance(line, Problem) else code
        return made

    def __reduce__(self) -> tuple[type[Self], tuple[str, Code]]:
        return type(self), (str(self), self.code)


def problem_of(error: BaseException, line: str) -> Problem:
    """What is told of an error, with its code; that of another error's is the author's."""
    code = error.code if isinstance(error, DatahubError | TaskInterrupted) else Code.TASK_FAILED
    return Problem(line, Code(code))


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
    """Datahub's answer is not the protocol's: truncated, not JSON, or of another shape."""

    code = Code.INVALID_ANSWER


class FinalError(DatahubError):
    """A call was refused for good: repeating it would change nothing."""


class RejectedError(FinalError):
    """Datahub refused the call: a business error, code 1 or 400 and the like.

    Attributes:
        api_code: the envelope's code, or the HTTP status where there was none.
        by_datahub: an envelope said so; else it may have been a proxy, or a wrong address.
    """

    code = Code.REJECTED

    def __init__(self, message: str, api_code: int, *, by_datahub: bool = True) -> None:
        super().__init__(message, code=None if by_datahub else Code.REJECTED_ON_THE_WAY)
        self.api_code = api_code
        self.by_datahub = by_datahub


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
