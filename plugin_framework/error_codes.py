"""The causes of trouble by their stable codes, and lines that carry one."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """A cause of trouble by its stable code, with one line on what to do about it.

    A code is never given another meaning, and none is taken again once it is gone. By hundreds: 1
    configuration, 2 Datahub's API, 3 transfers, 4 the journal, 5 the task, 6 many machines, 9 the
    framework.
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
    BROKER_UNREACHABLE = (
        "DH-601",
        "Check that RabbitMQ runs, and that this machine reaches the host of DATAHUB_BROKER_URL.",
    )
    BROKER_REFUSED = (
        "DH-602",
        "Check the user name and the password in DATAHUB_BROKER_URL: rabbitmqctl list_users.",
    )
    VHOST_REFUSED = (
        "DH-603",
        "Make the virtual host of DATAHUB_BROKER_URL, and give its user all permissions there.",
    )
    BROKER_TOO_OLD = "DH-604", "Let DATAHUB_BROKER_URL lead to RabbitMQ 3.10 or later."
    CONSUMER_TIMEOUT_SHORT = (
        "DH-605",
        "Raise consumer_timeout in rabbitmq.conf, or lower the plugin's timeout_seconds.",
    )
    QUEUE_WRONG = (
        "DH-606",
        "Delete the queue that the line names once nobody uses it, and start again.",
    )
    STORE_UNREACHABLE = (
        "DH-607",
        "Check that the server of DATAHUB_STORE_URL runs, and that this machine reaches it.",
    )
    STORE_UNSUITABLE = (
        "DH-608",
        "Set DATAHUB_STORE_URL to PostgreSQL, or to Redis that keeps all that it is given.",
    )
    NO_WORKER = "DH-609", "Start datahub-plugin worker with that plugin on some machine."
    NO_RESOURCES = (
        "DH-610",
        "Start a worker that offers what the line names, or lower the plugin's resources.",
    )
    LEASE_LOST = "DH-611", "Nothing is wrong with the subtask: another node goes on with it."
    NODES_DIFFER = "DH-612", "Install the same versions on all nodes, and restart the others."
    EXTRA_MISSING = "DH-613", "Install the extra that the line names."
    CLOCK_OFF = "DH-614", "Synchronise the machine's clock with the others': see timedatectl."
    ATTEMPTS_LOST = (
        "DH-615",
        "See why the workers ended: in their logs, and in the kernel's if memory ran out.",
    )
    STORE_REFUSED = (
        "DH-616",
        "Check the user name, the password and the database in DATAHUB_STORE_URL.",
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
