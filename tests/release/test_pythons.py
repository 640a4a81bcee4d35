"""The wheel is tried where it can be, and where it cannot that is said."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from release import pythons

HERE = f"3.{sys.version_info.minor}"


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs, the only one there is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def _stand_in(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_an_interpreter_of_pyenv_is_found(nothing: Path) -> None:
    path = nothing / f"pyenv/versions/{HERE}.99/bin/python"
    _stand_in(path, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    assert pythons.interpreter(HERE) == path


def test_a_stand_in_is_no_interpreter(nothing: Path) -> None:
    _stand_in(nothing / f"python{HERE}", "#!/bin/sh\nexit 127\n")
    assert pythons.interpreter(HERE) is None


def test_one_that_is_not_there_is_told(nothing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pythons.main("made-up.whl", "3.14") == pythons.FAILED
    assert "Python 3.14: NOT TRIED" in capsys.readouterr().out


def test_to_have_tried_none_is_a_failure(nothing: Path) -> None:
    assert pythons.main("made-up.whl") == pythons.FAILED


def test_an_unknown_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert pythons.main("made-up.whl", "2.7") == pythons.UNKNOWN
    assert "no such version: 2.7" in capsys.readouterr().err


def test_a_step_that_fails_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step: list[str | Path] = [sys.executable, "-c", "import sys; sys.exit('it broke')"]
    assert not pythons._succeeds(step, str(tmp_path))
    assert "ended with 1:  it broke" in capsys.readouterr().out


def test_a_wheel_that_does_not_work_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It installs, and lacks everything; what it needs is left out for speed."""
    nothing = tmp_path / "constraints.txt"
    nothing.touch()
    monkeypatch.setattr(pythons, "RUNTIME", nothing)
    monkeypatch.setattr(pythons, "EXTRAS", nothing)
    wheel = tmp_path / "made_up-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        about = "made_up-1.0.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: made-up\nVersion: 1.0")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setattr(pythons, "interpreter", lambda _: Path(sys.executable))
    assert pythons.main(str(wheel), HERE) == pythons.FAILED
    printed = capsys.readouterr().out
    assert "datahub-plugin" in printed
    assert f"Python {HERE}: FAILS" in printed
