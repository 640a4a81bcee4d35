"""What each setting defaults to, takes and refuses."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import SecretStr

from plugin_framework.settings.values import host_label

CANARY = "canary-5f1d"

UNSET = (
    *("BASE_URL", "API_KEY", "API_SECRET", "API_SECRET_PREVIOUS", "TOKEN"),
    *("SUBTASK_ID", "TASK_ID", "PLUGIN", "CONFIG", "CA_BUNDLE", "PROXY", "BROKER_URL"),
    *("STORE_URL", "METRICS"),
    *("TRANSFER__CHUNK_SIZE", "TRANSFER__BANDWIDTH", "TRANSFER__PROCESS_CONCURRENCY"),
)
DEFAULTS: dict[str, object] = dict.fromkeys(UNSET) | {
    "HEARTBEAT_SECONDS": 30,
    "POLL_SECONDS": 5,
    "CONNECT_TIMEOUT": 5,
    "REQUEST_DEADLINE": 60,
    "STARTUP_DEADLINE": 60,
    "DELIVERY_DEADLINE": 600,
    "ISOLATION": "process",
    "GRACE_SECONDS": 30,
    "STALL_SECONDS": 0,
    "TIMEOUT_SECONDS": 0,
    "ON_SHUTDOWN": "fail",
    "ON_INTERRUPTED": "resume",
    "UPLOAD_FIELDS": "sample",
    "TRANSFER__CONCURRENCY": 4,
    "TRANSFER__ALLOWED_HOSTS": (),
    "TRANSFER__DIGEST": "sha256",
    "MAX_CONCURRENCY": len(os.sched_getaffinity(0)),
    "MAX_QUEUE": 1000,
    "ENGINE": "local",
    "NODE": host_label(),
    "LEASE_SECONDS": 3,
    "DRAIN_SECONDS": 10,
    "CONSUMER_TIMEOUT": 1800,
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "auto",
    **dict.fromkeys(("ALLOW_INSECURE", "TRANSFER__SEND_MD5"), False),
}

GOOD = [
    ("METRICS", "127.0.0.1:9464", "127.0.0.1:9464"),
    ("METRICS", "[::1]:0", "[::1]:0"),
    ("METRICS", "/var/lib/figures/run.prom", "/var/lib/figures/run.prom"),
    ("BASE_URL", "https://datahub.example.com/", "https://datahub.example.com"),
    ("BASE_URL", "https://example.com:8443/hub//", "https://example.com:8443/hub"),
    ("TOKEN", CANARY, SecretStr(CANARY)),
    ("SUBTASK_ID", "task_001_ingest", "task_001_ingest"),
    ("TASK_ID", "task_001", "task_001"),
    ("PLUGIN", "word-count", "word-count"),
    ("CONFIG", '{"a": 1}', '{"a": 1}'),
    ("STATE_DIR", "/var/lib/state", Path("/var/lib/state")),
    ("HEARTBEAT_SECONDS", "0.5", 0.5),
    ("POLL_SECONDS", "0", 0),
    ("CONNECT_TIMEOUT", "1", 1),
    ("REQUEST_DEADLINE", "1e2", 100),
    ("STARTUP_DEADLINE", "0", 0),
    ("DELIVERY_DEADLINE", "0", 0),
    ("ISOLATION", "Thread", "thread"),
    ("GRACE_SECONDS", "0", 0),
    ("STALL_SECONDS", "90", 90),
    ("TIMEOUT_SECONDS", "3600", 3600),
    ("ON_SHUTDOWN", "leave", "leave"),
    ("ON_INTERRUPTED", "fail", "fail"),
    ("CA_BUNDLE", sys.executable, Path(sys.executable)),
    ("PROXY", "env", SecretStr("env")),
    ("PROXY", "ENV", SecretStr("env")),
    ("PROXY", "http://u:p@localhost:1080", SecretStr("http://u:p@localhost:1080")),
    ("UPLOAD_FIELDS", "joined", "joined"),
    ("TRANSFER__CHUNK_SIZE", "16MiB", 16 * 1024 * 1024),
    ("TRANSFER__CHUNK_SIZE", "5242880", 5242880),
    ("TRANSFER__CHUNK_SIZE", "auto", None),
    ("TRANSFER__CONCURRENCY", "64", 64),
    ("TRANSFER__PROCESS_CONCURRENCY", "16", 16),
    ("TRANSFER__ALLOWED_HOSTS", "*.Example.com,[::1], a,", ("*.example.com", "::1", "a")),
    ("TRANSFER__ALLOWED_HOSTS", "any", ()),
    ("TRANSFER__BANDWIDTH", "5MB", 5_000_000),
    ("TRANSFER__BANDWIDTH", "none", None),
    ("TRANSFER__DIGEST", "none", "none"),
    ("TRANSFER__SEND_MD5", "true", True),
    ("MAX_CONCURRENCY", "3", 3),
    ("MAX_QUEUE", "0", 0),
    ("ENGINE", "local", "local"),
    ("BROKER_URL", "amqp://u:p@localhost//", SecretStr("amqp://u:p@localhost//")),
    ("BROKER_URL", "amqps://h/%2F", SecretStr("amqps://h/%2F")),
    *(
        ("STORE_URL", url, SecretStr(url))
        for url in (
            "postgresql://u:p@h:5432/d",
            "postgresql://a:1,b:2/d?target_session_attrs=read-write",
            "postgresql:///d?host=/run/postgresql",
            "redis://h:6379/0",
            "rediss://:p@h",
        )
    ),
    ("NODE", "gpu-1.example", "gpu-1.example"),
    ("LEASE_SECONDS", "1", 1),
    ("DRAIN_SECONDS", "0", 0),
    ("CONSUMER_TIMEOUT", "0", 0),
    ("LOG_LEVEL", "debug", "DEBUG"),
    ("LOG_FORMAT", "json", "json"),
    ("ALLOW_INSECURE", "true", True),
]

SECONDS = "a number greater than 0 (seconds)"
SECONDS_OR_ZERO = "a number of 0 or more (seconds)"
SECONDS_OR_OFF = "a number of 0 or more (seconds; 0: off)"
HTTP = "an http:// or https:// address, such as https://datahub.example.com"
HTTPS = "https:// (http:// leaves this machine only with DATAHUB_ALLOW_INSECURE=true)"
UNICODE = "Unicode text that is not empty"
FIGURES = "an address such as 127.0.0.1:9464, or the path of a .prom file"
HEADER = "printable ASCII characters without spaces (it goes into an HTTP header)"
PROXY = "env, or a URL such as http://proxy.example.com:3128"
BROKER = "a RabbitMQ address, such as amqp://user:password@host:5672/vhost"
STORE = "an address such as postgresql://user:password@host:5432/database or redis://host:6379/0"
LABEL = "at most 63 letters, digits, dots, hyphens and underscores"
SIZE = "auto, or a size from 5 MiB to 5 GiB, such as 16MiB"
RATE = "none, or a size greater than 0, such as 10MB (bytes per second)"
HOSTS = "hosts without port, such as *.example.com,storage.internal"

BAD = [
    ("METRICS", "9464", FIGURES),
    ("METRICS", "host:99999", FIGURES),
    ("METRICS", "127.0.0.1:٣٣", FIGURES),
    ("METRICS", "/var/lib/figures.txt", FIGURES),
    ("SUBTASK_ID", "\udcff", UNICODE),
    ("BASE_URL", "datahub.example.com", HTTP),
    ("BASE_URL", "ftp://datahub.example.com", HTTP),
    ("BASE_URL", "https://host:99999", HTTP),
    ("BASE_URL", "https://[::1", HTTP),
    ("BASE_URL", "https:// host", HTTP),
    ("BASE_URL", "https://..", HTTP),
    ("TRANSFER__CHUNK_SIZE", "6GiB", "auto, or a size from 5 MiB to 5 GiB, such as 16MiB"),
    ("HEARTBEAT_SECONDS", "1e-9", "at least 0.01 (seconds)"),
    ("POLL_SECONDS", "0.001", "at least 0.01 (seconds)"),
    ("BASE_URL", "https://" + "a" * 64, HTTP),
    ("BASE_URL", "http://datahub.example.com", HTTPS),
    ("STATE_DIR", sys.executable, "a folder (this is a file)"),
    ("STATE_DIR", "~no-such-user/x", "an absolute path (there is no such home or current folder)"),
    ("HEARTBEAT_SECONDS", "abc", SECONDS),
    ("HEARTBEAT_SECONDS", "0", SECONDS),
    ("POLL_SECONDS", "-1", SECONDS_OR_OFF),
    ("CONNECT_TIMEOUT", "nan", SECONDS),
    ("REQUEST_DEADLINE", "inf", SECONDS),
    ("STARTUP_DEADLINE", "-inf", SECONDS_OR_ZERO),
    ("DELIVERY_DEADLINE", "1e9", "at most 31622400 seconds (a year)"),
    ("ISOLATION", "Docker", "process or thread"),
    ("GRACE_SECONDS", "1 s", SECONDS_OR_ZERO),
    ("STALL_SECONDS", "off", SECONDS_OR_OFF),
    ("TIMEOUT_SECONDS", "-0.1", SECONDS_OR_OFF),
    ("ON_SHUTDOWN", "stop", "fail, pause, cancel or leave"),
    ("ON_INTERRUPTED", "retry", "resume or fail"),
    ("CA_BUNDLE", "/no/such/file", "an existing, readable PEM file"),
    ("CA_BUNDLE", "/", "an existing, readable PEM file"),
    ("UPLOAD_FIELDS", "both", "sample or joined"),
    ("TRANSFER", "{}", "its parts one by one, such as DATAHUB_TRANSFER__CONCURRENCY=4"),
    ("TRANSFER__CHUNK_SIZE", "1MiB", SIZE),
    ("TRANSFER__CHUNK_SIZE", "16 parsecs", SIZE),
    ("TRANSFER__CHUNK_SIZE", "9" * 99, "a shorter size"),
    ("TRANSFER__CONCURRENCY", "65", "a whole number from 1 to 64"),
    ("TRANSFER__PROCESS_CONCURRENCY", "0", "auto, or a whole number from 1 to 1024"),
    ("TRANSFER__ALLOWED_HOSTS", "https://example.com", HOSTS),
    ("TRANSFER__ALLOWED_HOSTS", "a.example,b.example:9000", HOSTS),
    ("TRANSFER__BANDWIDTH", "0", RATE),
    ("TRANSFER__DIGEST", "md5", "sha256 or none"),
    ("TRANSFER__SEND_MD5", "md5", "true or false"),
    ("MAX_CONCURRENCY", "0", "a whole number of at least 1"),
    ("MAX_QUEUE", "1.5", "a whole number of 0 or more"),
    ("ENGINE", "ray", "local or celery"),
    ("NODE", "a b", LABEL),
    ("NODE", "n" * 64, LABEL),
    ("LEASE_SECONDS", "0.9", "a number of at least 1 (seconds)"),
    ("DRAIN_SECONDS", "-1", SECONDS_OR_ZERO),
    ("CONSUMER_TIMEOUT", "none", SECONDS_OR_OFF),
    ("LOG_LEVEL", "loud", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    ("LOG_FORMAT", "xml", "auto, json or text"),
    ("ALLOW_INSECURE", "perhaps", "true or false"),
    ("SECRETS_DIR", "/no/such/folder", "an existing, readable folder"),
]

BAD_SECRETS = [
    ("API_KEY", "zwölf", HEADER),
    ("TOKEN", "a b", HEADER),
    ("API_SECRET_PREVIOUS", "\udcff", UNICODE),
    ("PROXY", "ftp://u:p@host", PROXY),
    ("PROXY", "socks5h://host:1080", PROXY),
    ("BROKER_URL", "localhost:5672", BROKER),
    ("BROKER_URL", "redis://h/0", BROKER),
    ("BROKER_URL", "amqp://", BROKER),
    ("STORE_URL", "mysql://u:p@h/d", STORE),
    ("STORE_URL", "redis:///0", STORE),
    ("STORE_URL", "postgresql://u:p @h/d", STORE),
]
