"""What cannot be run is at least right: blocks of YAML, Dockerfiles and units, and the files."""

from __future__ import annotations

import shutil

import pytest

from tests.docs.fragments import CHECKS, check_dockerfile, check_yaml
from tests.docs.markdown import ROOT

DEPLOY = ROOT / "docs" / "how-to" / "deploy"

UNIT = """\
# my-plugin.service
[Unit]
Description=A plugin's service

[Service]
ExecStart=/opt/plugin/bin/datahub-plugin serve my-plugin
Restart=on-failure
KillMode=mixed
Environment=A=1
Environment=B=2

[Install]
WantedBy=multi-user.target
"""

GOOD = {
    "yaml": ["a: 1\nb: [x, y]\n", "kind: Pod\napiVersion: v1\nmetadata: {name: x}\n---\na: 1\n"],
    "dockerfile": [
        'FROM x\n# no shell\nHEALTHCHECK --interval=1s \\\n  CMD ["true"]\nCMD ["a", "b"]\n',
        "ARG V=1\nFROM python:$V\nRUN a \\\n && b\n",
        'ENTRYPOINT ["datahub-plugin"]\n',
        "FROM x\nHEALTHCHECK NONE\n",
    ],
    "ini": ["[a]\nb = 1\n", UNIT],
    "systemd": [UNIT],
}

BAD = {
    "yaml": {
        "a: 1\na: 2\n": "twice",
        "a: [1\n": "expected",
        "a: 1\n---\n": "empty",
        "apiVersion: v1\nkind: Pod\n": "name in its metadata",
        "a: !!python/object/apply:os.getcwd []\n": "could not determine a constructor",
    },
    "dockerfile": {
        "FROM x\nCMD datahub-plugin serve\n": "exec form",
        "FROM x\nENTRYPOINT ['a']\n": "exec form",
        "FROM x\nHEALTHCHECK --timeout=2s CMD curl x\n": "exec form",
        "FROM x\nCOPPY a b\n": "COPPY",
        "RUN a\nFROM x\n": "before the first FROM",
        "# nothing\n": "no instruction",
    },
    "ini": {"a = 1\n": "section header", "[a]\nb\n": "parsing errors", "# x.conf\n": "no section"},
}


@pytest.mark.parametrize(
    ("language", "text"), [(name, text) for name, texts in GOOD.items() for text in texts]
)
def test_what_is_right_is_let_pass(language: str, text: str) -> None:
    CHECKS[language](text)


@pytest.mark.parametrize(
    ("language", "text", "why"),
    [(name, text, why) for name, texts in BAD.items() for text, why in texts.items()],
)
def test_what_is_wrong_is_found(language: str, text: str, why: str) -> None:
    with pytest.raises(Exception, match=why):
        CHECKS[language](text)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
@pytest.mark.parametrize("line", ["Restrat=always", "Restart=sometimes", "TimeoutStopSec=soon"])
def test_systemd_itself_reads_a_unit(line: str) -> None:
    text = UNIT.replace("KillMode=mixed", line)
    with pytest.raises(ValueError, match=r"my-plugin\.service:8: .+, ignoring"):
        CHECKS["systemd"](text)


def test_the_files_to_start_from_are_right() -> None:
    for path in DEPLOY.glob("*.yaml"):
        check_yaml(path.read_text(encoding="utf-8"))
    check_dockerfile((DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    for path in DEPLOY.glob("*.service"):
        CHECKS["systemd"](f"# {path.name}\n{path.read_text(encoding='utf-8')}")
