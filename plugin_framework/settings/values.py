"""What the variables take: checks that say what is expected, and the types made of them."""

import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from plugin_framework.protocol.userinfo import is_read_whole

PREFIX = "DATAHUB_"

LONGEST_SECONDS = 366 * 24 * 3600
"""Clocks and sockets overflow on much longer waits."""

_Text = TypeVar("_Text", bound=str | SecretStr)
_LONGEST_SIZE = 30
_DEFAULT_SECRETS_DIR = Path("/run/secrets")
_PROXY_SCHEMES = ("http", "https")
_BROKER_SCHEMES = ("amqp", "amqps")
_REDIS_SCHEMES = ("redis", "rediss")
_SHORTEST_INTERVAL = 0.01

BROKER = "a RabbitMQ address, such as amqp://user:password@host:5672/vhost"
STORE = "an address such as postgresql://user:password@host:5432/database or redis://host:6379/0"
NODE_LABEL = "at most 63 letters, digits, dots, hyphens and underscores"


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a setting takes, as error lines and the reference page say it.

    ``default`` is for people, where the value itself says too little.
    """

    expected: str
    default: str = ""
    secret: bool = False


def accepts(field: FieldInfo) -> Accepts:
    """What the field takes; the words of a Literal speak for themselves."""
    for entry in field.metadata:
        if isinstance(entry, Accepts):
            return entry
    *words, last = get_args(field.annotation)
    return Accepts(f"{', '.join(words)} or {last}")


def variable_of(*place: str) -> str:
    """The environment variable of a field, or of a nested field."""
    return PREFIX + "__".join(place).upper()


def _refused(expected: str) -> PydanticCustomError:
    return PydanticCustomError("setting_refused", "expected {expected}", {"expected": expected})


def _missing(variable: str, expected: str) -> PydanticCustomError:
    return PydanticCustomError(
        "setting_missing",
        "{variable} is not set: expected {expected}",
        {"variable": PREFIX + variable, "expected": expected},
    )


def _split_url(url: str, schemes: tuple[str, ...]) -> SplitResult | None:
    """The parts of an absolute URL, or None. ``urlsplit`` alone drops line breaks silently."""
    if re.search(r"[\s\\\x00-\x1f\x7f\ud800-\udfff]", url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError unless it is a port number
    except ValueError:
        return None
    return parts if parts.scheme in schemes and _is_host(parts.hostname or "") else None


def _refuse_half_read(secret: SecretStr) -> None:
    """Refuse an address of which logs and name look-ups would see a part of the password."""
    if not is_read_whole(secret.get_secret_value()):
        raise _refused(
            "user name and password percent-encoded: @ as %40, / as %2F, ? as %3F, # as %23"
        )


def _is_host(name: str) -> bool:
    try:  # as name look-ups do it: refuses labels that are empty or too long
        return 0 < len(name.encode("idna")) < 254  # noqa: PLR2004 - the longest of names, RFC 1035
    except UnicodeError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def datahub_address(url: str, info: ValidationInfo) -> str:
    """Refuse what is no plain Datahub address, and http:// to another machine."""
    parts = _split_url(url, ("http", "https"))
    if parts is None:
        raise ValueError("no HTTP address")
    if "@" in url or "?" in url or "#" in url:
        raise _refused("an address without user name, password, query or fragment")
    # Absent from info.data when it is itself wrong: then its own line is enough.
    insecure_is_fine = info.data.get("allow_insecure", True)
    if parts.scheme == "http" and not insecure_is_fine and not _is_loopback(parts.hostname or ""):
        raise _refused(
            "https:// (http:// leaves this machine only with DATAHUB_ALLOW_INSECURE=true)"
        )
    return url.rstrip("/")


def not_too_often(seconds: float) -> float:
    """Refuse an interval that would keep the machine busy with nothing else; 0 is off."""
    if 0 < seconds < _SHORTEST_INTERVAL:
        raise _refused(f"at least {_SHORTEST_INTERVAL} (seconds)")
    return seconds


def proxy_address(proxy: SecretStr) -> SecretStr:
    """Take ``env`` or a proxy's URL."""
    _refuse_half_read(proxy)
    url = proxy.get_secret_value()
    if url.lower() == "env":
        return SecretStr("env")
    if _split_url(url, _PROXY_SCHEMES) is None:
        raise ValueError("no proxy address")
    return proxy


def broker_address(broker: SecretStr) -> SecretStr:
    """Take RabbitMQ's addresses, with TLS and without."""
    _refuse_half_read(broker)
    if _split_url(broker.get_secret_value(), _BROKER_SCHEMES) is None:
        raise ValueError("no broker address")
    return broker


def store_address(store: SecretStr) -> SecretStr:
    """Take addresses of PostgreSQL, which may name several hosts or none, and of Redis."""
    _refuse_half_read(store)
    url = store.get_secret_value()
    of_postgresql = re.match(r"postgresql://[\x21-\x7e]+\Z", url)
    if of_postgresql is None and _split_url(url, _REDIS_SCHEMES) is None:
        raise ValueError("no store address")
    return store


def engine_and_broker(engine: str, info: ValidationInfo) -> str:
    """Demand a broker with an engine that needs one."""
    if engine == "celery" and info.data.get("broker_url", "a wrong one") is None:
        raise _missing("BROKER_URL", f"{BROKER}, with {PREFIX}ENGINE=celery")
    return engine


def node_label(label: str) -> str:
    """Refuse what logs, metrics and queues cannot all carry."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", label):
        raise ValueError("no node label")
    return label


def metrics_place(text: str) -> str:
    """Refuse what is neither an address nor a file's path; make that one absolute."""
    if text.endswith(".prom"):
        return str(absolute(Path(text)))
    host, _, port = text.rpartition(":")
    if not (_is_host(host.strip("[]")) and re.fullmatch("[0-9]{1,5}", port) and int(port) < 2**16):
        raise ValueError("no place for figures")
    return text


def host_label() -> str:
    """The host's name, as far as it is a label."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:63] or "node"


def _unicode(text: _Text) -> _Text:
    plain = text if isinstance(text, str) else text.get_secret_value()
    # Bytes that are not UTF-8 come out of the environment as lone surrogates.
    if not plain or re.search(r"[\ud800-\udfff]", plain):
        raise ValueError("no Unicode text")
    return text


def _header_text(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", secret.get_secret_value()):
        raise _refused("printable ASCII characters without spaces (it goes into an HTTP header)")
    return secret


def key_and_secret(secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Demand an API secret with an API key, and the reverse."""
    if "api_key" in info.data and (info.data["api_key"] is None) != (secret is None):
        absent, present = ("SECRET", "KEY") if secret is None else ("KEY", "SECRET")
        raise _missing(f"API_{absent}", f"the one that belongs to {PREFIX}API_{present}")
    return secret


def _not_too_long(seconds: float) -> float:
    if seconds > LONGEST_SECONDS:
        raise _refused(f"at most {LONGEST_SECONDS} seconds (a year)")
    return seconds


def _in_any_case(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    if isinstance(value, str):
        for spelled in (value.strip().lower(), value.strip().upper()):
            with suppress(ValidationError):
                return handler(spelled)
    return handler(value)


def size_or(word: str) -> BeforeValidator:
    """Take ``word`` for None, and anything else for a size such as ``16MiB``."""

    def read(value: object) -> object:
        if isinstance(value, str) and value.strip().lower() == word:
            return None
        if isinstance(value, str) and len(value) > _LONGEST_SIZE:
            raise _refused("a shorter size")  # ByteSize overflows on it
        return value

    return BeforeValidator(read)


def _host_pattern(pattern: object) -> str:
    host = str(pattern).strip().lower().removeprefix("[").removesuffix("]")
    with suppress(ValueError):
        return str(ipaddress.ip_address(host))
    if not re.fullmatch(r"[a-z0-9*._-]+", host):
        raise ValueError("no host pattern")
    return host


def host_patterns(value: object) -> object:
    """Split at commas; ``any`` is no pattern at all."""
    if isinstance(value, str):
        value = () if value.strip().lower() == "any" else value.split(",")
    if not isinstance(value, Iterable):
        return value
    return tuple(_host_pattern(pattern) for pattern in value if str(pattern).strip())


def absolute(path: Path) -> Path:
    """Expand ``~`` and make the path independent of the current folder."""
    try:
        return path.expanduser().absolute()
    except (RuntimeError, OSError):
        raise _refused("an absolute path (there is no such home or current folder)") from None


def state_folder(path: Path) -> Path:
    """Refuse what is there and is no folder."""
    path = absolute(path)
    if os.access(path, os.F_OK) and not path.is_dir():
        raise _refused("a folder (this is a file)")
    return path


def readable_file(path: Path) -> Path:
    """Refuse what is not there, is no file or may not be read."""
    path = absolute(path)
    # In this order: is_file raises where a folder above may not be searched, access does not.
    if not os.access(path, os.R_OK) or not path.is_file():
        raise ValueError("no readable file")
    return path


def readable_folder(path: Path) -> Path:
    """Refuse what is not there, is no folder or may not be listed."""
    path = absolute(path)
    if not os.access(path, os.R_OK | os.X_OK) or not path.is_dir():
        raise ValueError("no readable folder")
    return path


def default_ca_bundle() -> Path | None:
    """``SSL_CERT_FILE``; as OpenSSL does, a file that is not there is taken for none."""
    path = os.environ.get("SSL_CERT_FILE")
    with suppress(ValueError):
        return readable_file(Path(path)) if path else None
    return None


def default_secrets_dir() -> Path | None:
    """Where container platforms mount secrets, if there is such a folder here."""
    with suppress(ValueError):
        return readable_folder(_DEFAULT_SECRETS_DIR)
    return None


AnyCase: WrapValidator = WrapValidator(_in_any_case)
_Seconds: TypeAlias = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_not_too_long)]

Text: TypeAlias = Annotated[
    Annotated[str, AfterValidator(_unicode)] | None, Accepts("Unicode text that is not empty")
]
Interval: TypeAlias = Annotated[_Seconds, Field(gt=0), Accepts("a number greater than 0 (seconds)")]
LeaseTime: TypeAlias = Annotated[_Seconds, Field(ge=1), Accepts("a number of at least 1 (seconds)")]
Wait: TypeAlias = Annotated[_Seconds, Field(ge=0), Accepts("a number of 0 or more (seconds)")]
IntervalOrOff: TypeAlias = Annotated[
    _Seconds, Field(ge=0), Accepts("a number of 0 or more (seconds; 0: off)")
]
HeaderSecret: TypeAlias = Annotated[
    Annotated[SecretStr, AfterValidator(_header_text)] | None,
    Accepts("printable ASCII characters", secret=True),
]
ApiSecret: TypeAlias = Annotated[
    Annotated[SecretStr, AfterValidator(_unicode)] | None,
    Accepts("Unicode text that is not empty", secret=True),
]
