"""The settings themselves: names, types, defaults and meanings."""

import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from plugin_framework.errors import Code, SettingsError
from plugin_framework.protocol.models import MINIMUM_PART_SIZE
from plugin_framework.settings.secret_files import SecretFiles
from plugin_framework.settings.values import (
    BROKER,
    NODE_LABEL,
    PREFIX,
    STORE,
    Accepts,
    AnyCase,
    ApiSecret,
    HeaderSecret,
    Interval,
    IntervalOrOff,
    LeaseTime,
    Text,
    Wait,
    broker_address,
    datahub_address,
    default_ca_bundle,
    default_secrets_dir,
    engine_and_broker,
    host_label,
    host_patterns,
    key_and_secret,
    metrics_place,
    node_label,
    not_too_often,
    proxy_address,
    readable_file,
    readable_folder,
    size_or,
    state_folder,
    store_address,
)

MAXIMUM_PART_SIZE = 5 * 1024**3
"""Bytes: the most that object stores take in one request."""


class TransferSettings(BaseModel):
    """How files are moved. Sizes are in bytes; None and an empty tuple mean no limit."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    chunk_size: Annotated[
        Annotated[ByteSize, Field(ge=MINIMUM_PART_SIZE, le=MAXIMUM_PART_SIZE)] | None,
        size_or("auto"),
        Accepts("auto, or a size from 5 MiB to 5 GiB, such as 16MiB", default="auto"),
    ] = None
    """Size of an uploaded part; auto is 16 MiB, more where that would make over 10,000 parts."""
    concurrency: Annotated[int, Field(ge=1, le=64), Accepts("a whole number from 1 to 64")] = 4
    """Parts of one file, or of all that a subtask uploads, on their way at once."""
    process_concurrency: Annotated[
        Annotated[int, Field(ge=1, le=1024)] | None,
        size_or("auto"),
        Accepts("auto, or a whole number from 1 to 1024", default="auto"),
    ] = None
    """Parts on their way at once in one process, shared out fairly between what it moves; auto is
    twice the concurrency."""
    allowed_hosts: Annotated[
        tuple[str, ...],
        BeforeValidator(host_patterns),
        Accepts("hosts without port, such as *.example.com,storage.internal", default="any"),
    ] = ()
    """Storage hosts that may be talked to; one on a loopback or private address must be named here
    unless Datahub itself is on such an address."""
    bandwidth: Annotated[
        Annotated[ByteSize, Field(gt=0)] | None,
        size_or("none"),
        Accepts("none, or a size greater than 0, such as 10MB (bytes per second)"),
    ] = None
    """Most bytes per second of all transfers of a process together."""
    digest: Annotated[Literal["sha256", "none"], AnyCase] = "sha256"
    """Digest of whole files; with none, outputs carry null."""
    send_md5: Annotated[bool, Accepts("true or false")] = False
    """Whether Datahub is told the MD5 of a file before it is sent; each file is then read twice."""


class Settings(BaseSettings):
    """All settings, read when an instance is made; keyword arguments win over all else.

    Raises ``pydantic.ValidationError``; ``load_settings`` puts that into an operator's words.
    A setting that a plugin may also choose (``isolation``, ``timeout_seconds``) overrides the
    plugin's where ``model_fields_set`` holds its name.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_nested_max_split=1,
        env_file=".env",
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        enable_decoding=False,
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    # A validator sees only the fields above its own: what others depend on stands before them.
    allow_insecure: Annotated[bool, Accepts("true or false")] = False
    """Whether http:// may be used for a Datahub on another machine."""
    base_url: Annotated[
        Annotated[str, AfterValidator(datahub_address)] | None,
        Accepts("an http:// or https:// address, such as https://datahub.example.com"),
    ] = None
    """Datahub's address, up to where its paths begin with /api."""
    api_key: HeaderSecret = None
    """Names the secret that requests are signed with."""
    api_secret: Annotated[ApiSecret, AfterValidator(key_and_secret)] = Field(
        default=None, validate_default=True
    )
    """Signs requests, and checks those that come in."""
    api_secret_previous: ApiSecret = None
    """A second secret accepted of incoming requests, during a rotation."""
    token: HeaderSecret = None
    """Bearer token, used where no API key is set."""
    subtask_id: Text = None
    """The subtask that `run` works on."""
    task_id: Text = None
    """The task that the subtask belongs to."""
    plugin: Text = None
    """Name of the plugin that `run` runs."""
    config: Text = Field(default=None, repr=False)
    """The task's config: JSON, or the path of a JSON file."""
    state_dir: Annotated[
        Path,
        AfterValidator(state_folder),
        Accepts("path of a folder, made where it is missing", default="the user state directory"),
    ] = Field(
        default_factory=lambda: platformdirs.user_state_path("datahub-plugin"),
        validate_default=True,
    )
    """Holds the journal, work directories and partial transfers."""
    heartbeat_seconds: Annotated[Interval, AfterValidator(not_too_often)] = 30.0
    """Seconds between heartbeats."""
    poll_seconds: Annotated[IntervalOrOff, AfterValidator(not_too_often)] = 5.0
    """Seconds between questions to Datahub about pause and cancel."""
    connect_timeout: Interval = 5.0
    """Seconds that one connection may take."""
    request_deadline: Interval = 60.0
    """Seconds that one call to Datahub may take from start to end."""
    startup_deadline: Wait = 60.0
    """Seconds that `run` keeps trying to reach Datahub at its start."""
    delivery_deadline: Wait = 600.0
    """Seconds that `run` keeps trying to deliver before it exits with 75."""
    isolation: Annotated[Literal["process", "thread"], AnyCase] = "process"
    """Where hooks run: in a process of their own, or in a thread."""
    grace_seconds: Wait = 30.0
    """Seconds from a cancel or shutdown until the plugin's process is killed."""
    stall_seconds: IntervalOrOff = 0.0
    """Seconds without progress after which a subtask is reported as stalled."""
    timeout_seconds: IntervalOrOff = 0.0
    """Seconds that a whole task may take; beyond, it fails."""
    on_shutdown: Annotated[Literal["fail", "pause", "cancel", "leave"], AnyCase] = "fail"
    """What SIGTERM makes of a running subtask: failed, paused, cancelled, or left unreported, to be
    resumed at the next start. A `worker` leaves it to another, unless this is set."""
    on_interrupted: Annotated[Literal["resume", "fail"], AnyCase] = "resume"
    """What becomes of a subtask found half-done after a crash: another attempt, or failed."""
    ca_bundle: Annotated[
        Annotated[Path, AfterValidator(readable_file)] | None,
        Accepts("an existing, readable PEM file", default="the system's (or SSL_CERT_FILE)"),
    ] = Field(default_factory=default_ca_bundle)
    """Certificate authorities trusted for Datahub and storage."""
    proxy: Annotated[
        Annotated[SecretStr, AfterValidator(proxy_address)] | None,
        Accepts("env, or a URL such as http://proxy.example.com:3128", secret=True),
    ] = None
    """Proxy for Datahub and storage; env takes HTTPS_PROXY and the like, which are ignored
    otherwise."""
    upload_fields: Annotated[Literal["sample", "joined"], AnyCase] = "sample"
    """How upload/init's fields are spelt: file_name and file_size, or filename and filesize."""
    transfer: Annotated[
        TransferSettings, Accepts(f"its parts one by one, such as {PREFIX}TRANSFER__CONCURRENCY=4")
    ] = TransferSettings()
    """How files are moved."""
    max_concurrency: Annotated[
        int, Field(ge=1), Accepts("a whole number of at least 1", default="the number of cores")
    ] = Field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Subtasks that `serve` or a `worker` runs side by side."""
    max_queue: Annotated[int, Field(ge=0), Accepts("a whole number of 0 or more")] = 1000
    """Subtasks that `serve` lets wait; beyond, it answers that it is busy."""
    broker_url: Annotated[
        Annotated[SecretStr, AfterValidator(broker_address)] | None, Accepts(BROKER, secret=True)
    ] = None
    """The RabbitMQ of the celery engine; the name of its virtual host is percent-encoded."""
    store_url: Annotated[
        Annotated[SecretStr, AfterValidator(store_address)] | None,
        Accepts(STORE, default="the journal, for one machine", secret=True),
    ] = None
    """What the nodes of the celery engine share: who works on what, saved state, endings."""
    engine: Annotated[Literal["local", "celery"], AnyCase, AfterValidator(engine_and_broker)] = (
        "local"
    )
    """Where subtasks run: on this machine, or on all that run `worker`."""
    node: Annotated[
        str, AfterValidator(node_label), Accepts(NODE_LABEL, default="the host name")
    ] = Field(default_factory=host_label)
    """This machine's name in logs, metrics and outcomes of the celery engine."""
    lease_seconds: LeaseTime = 3.0
    """Seconds without a sign of life after which another node may go on with a subtask."""
    drain_seconds: Wait = 10.0
    """Seconds that a worker which is to end lets its subtasks go on, before it hands them back."""
    consumer_timeout: IntervalOrOff = 1800.0
    """Seconds of RabbitMQ's consumer_timeout, for a RabbitMQ before 3.12 that does not tell it; 0:
    it has none."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], AnyCase] = "INFO"
    """The least severe log lines that are written."""
    log_format: Annotated[Literal["auto", "json", "text"], AnyCase] = "auto"
    """Form of log lines; auto is text on a terminal, else JSON."""
    metrics: Annotated[
        Annotated[str, AfterValidator(metrics_place)] | None,
        Accepts("an address such as 127.0.0.1:9464, or the path of a .prom file"),
    ] = None
    """Where `run` and `worker` show figures to Prometheus: an address that answers `GET /metrics`,
    or a file, written when the command ends. `serve` has its own `/metrics`."""
    secrets_dir: Annotated[
        Annotated[Path, AfterValidator(readable_folder)] | None,
        Accepts("an existing, readable folder", default="/run/secrets where it exists"),
    ] = Field(default_factory=default_secrets_dir)
    """Folder of secret files, each named after its variable."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - ours reports, theirs raises
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of precedence, highest first."""
        return init_settings, env_settings, dotenv_settings, SecretFiles(settings_cls)

    def require_datahub(self) -> str:
        """Datahub's address, without a slash at its end; SettingsError where none is set."""
        if self.base_url is None:
            raise SettingsError(
                f"{PREFIX}BASE_URL is not set: "
                "expected the address of Datahub, such as https://datahub.example.com",
                code=Code.SETTING_MISSING,
            )
        return self.base_url
