"""FAULTS.md, rows 91, 92 and 94: no code runs but what was asked for and pinned."""

from __future__ import annotations

import ast
import hashlib
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from plugin_framework.isolation.process import ProcessIsolation
from plugin_framework.plugin.loader import ref_of
from tests.cli.calling import PLUGINS, PROJECT, call
from tests.isolation.hostile import Hostile
from tests.isolation.recording_host import RecordingHost, facts

PACKAGE = PROJECT / "plugin_framework"
UNPICKLES = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def _calls_and_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # Of a multiprocessing connection; that of a socket is told how many bytes.
            if node.func.attr == "recv" and not node.args:
                yield "recv()"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield f"{node.func.id}()"


def test_nothing_is_unpickled_or_evaluated() -> None:
    refused = {*UNPICKLES, "recv()", "eval()", "exec()"}
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    assert len(trees) > 200
    found = {path: refused & set(_calls_and_imports(tree)) for path, tree in trees.items()}
    assert {path: what for path, what in found.items() if what} == {}
    assert refused & set(_calls_and_imports(ast.parse("import pickle; c.recv(); eval(x)")))


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


def test_a_pickle_in_the_pipe_is_no_message(tmp_path: Path) -> None:
    data = pickle.dumps(Bomb(tmp_path / "made"))
    framed = struct.pack("!i", len(data)) + data
    isolation = ProcessIsolation(ref_of(Hostile), secrets=frozenset())
    host = RecordingHost()
    isolation.start(
        facts(tmp_path, {"do": "garbage", "text": framed.decode("latin-1")}), host, host.exited
    )
    host.wait()
    isolation.close()
    assert not (tmp_path / "made").exists()
    pickle.loads(data).close()  # it is a real one
    assert (tmp_path / "made").exists()


def test_run_imports_no_other_plugin(tmp_path: Path) -> None:
    declared = tmp_path / "site" / "other-1.0.dist-info"
    declared.mkdir(parents=True)
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (declared / "entry_points.txt").write_text("[datahub.plugins]\nother = other_plugin:Other\n")
    made = tmp_path / "imported"
    (tmp_path / "site" / "other_plugin.py").write_text(f"open({str(made)!r}, 'w').close()\n")
    (tmp_path / "input").write_bytes(b"x")
    env = {"PYTHONPATH": f"{tmp_path / 'site'}:{PROJECT}"}
    local = ("--local", "input", "--out", "out")
    assert call("run", f"{PLUGINS}:Echo", *local, cwd=tmp_path, env=env).code == 0
    assert not made.exists()
    assert "other" in call("list", cwd=tmp_path, env=env).out  # it is installed
    assert made.exists()


def _wheel(path: Path, code: str) -> str:
    """A wheel of one module; its hash."""
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("swapped.py", code)
        wheel.writestr(
            "swapped-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: swapped\nVersion: 1\n"
        )
        wheel.writestr("swapped-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("swapped-1.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_package_that_was_swapped_is_not_installed(tmp_path: Path) -> None:
    wheel, pins = tmp_path / "swapped-1-py3-none-any.whl", tmp_path / "pins.txt"
    pins.write_text(f"swapped==1 --hash=sha256:{_wheel(wheel, 'good = True')}\n")
    install = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path)]
    install += ["--target", str(tmp_path / "site"), "--require-hashes", "-r", str(pins)]
    assert subprocess.run(install, capture_output=True, check=False).returncode == 0
    (tmp_path / "site").rename(tmp_path / "before")
    _wheel(wheel, "good = False")
    refused = subprocess.run(install, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / "site").exists()


def test_the_audit_passes_over_nothing_and_is_part_of_ci() -> None:
    """Without --strict, a package that cannot be looked up passes."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    audits = [line for line in makefile.splitlines() if "pip-audit" in line]
    assert audits
    assert all({"--strict", "--require-hashes"} <= set(line.split()) for line in audits)
    assert "make audit" in (PROJECT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
