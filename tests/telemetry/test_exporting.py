from pathlib import Path

import pytest

from plugin_framework.errors import Code
from plugin_framework.telemetry.exporting import Exporting, NoExporterError

SECRET = "canary-5f1d"


def refusal(*names: str) -> NoExporterError:
    with pytest.raises(NoExporterError) as caught:
        Exporting(names)
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("consle", "no exporter 'consle' is installed: did you mean console?"),
        ("OTLP", "no exporter 'OTLP' is installed: did you mean otlp?"),
        ("quux", "no exporter 'quux' is installed"),
    ],
)
def test_nobody_is_told_to_install_what_nobody_knows(name: str, told: str) -> None:
    assert str(refusal(name)) == told


@pytest.mark.parametrize(
    ("exporter", "endpoint"),
    [
        ("otlp_proto_http", f"user:{SECRET}@127.0.0.1:1"),
        ("otlp_proto_http", f"http://user:p@{SECRET}/w@127.0.0.1:1"),
        ("otlp_proto_http", "127.0.0.1:4318"),
        ("otlp_proto_grpc", f"http://user:{SECRET}@127.0.0.1:1"),
    ],
)
def test_endpoint_that_would_be_logged_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exporter: str, endpoint: str
) -> None:
    _install(monkeypatch, tmp_path, exporter)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    refused = refusal("otlp")
    assert str(refused).startswith("OTEL_EXPORTER_OTLP_ENDPOINT: expected ")
    assert refused.code == Code.SETTING_WRONG


@pytest.mark.parametrize(
    ("exporter", "endpoint"),
    [
        ("otlp_proto_http", "https://user:p%40q@collector.example"),
        ("otlp_proto_grpc", "collector.example:4317"),
    ],
)
def test_endpoint_that_an_exporter_takes_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exporter: str, endpoint: str
) -> None:
    _install(monkeypatch, tmp_path, exporter)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    assert str(refusal("otlp")) == f"the exporter {exporter} cannot be made: ModuleNotFoundError"


def _install(monkeypatch: pytest.MonkeyPatch, folder: Path, exporter: str) -> None:
    """An exporter of that name, found and without its module."""
    about = folder / "exporter-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: exporter\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        f"[opentelemetry_traces_exporter]\n{exporter} = absent_module:made\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    for name in ("PROTOCOL", "TRACES_PROTOCOL", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
