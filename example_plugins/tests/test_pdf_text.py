from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pytest
from example_plugins.pdf_text import PdfText
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from plugin_framework import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from plugin_framework.testing import TaskRun

TEXTS = ["January 2013, Zürich", "", "March 2013: 27,004 flights", "April 2013\nŁódź"]


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PDF of four pages, one without text."""
    path = tmp_path_factory.mktemp("pdf") / "months.pdf"
    with mpl.rc_context({"pdf.fonttype": 42}), PdfPages(path) as pdf:
        for text in TEXTS:
            figure = Figure()
            figure.text(0.1, 0.5, text)
            pdf.savefig(figure)
    return path


@pytest.fixture
def extract(run_plugin: Callable[..., TaskRun]) -> Callable[..., TaskRun]:
    def start(source: Path | bytes, **config: Any) -> TaskRun:
        return run_plugin(PdfText, input=source, config=config)

    return start


def pdf(*contents: bytes, trailer: bytes = b"") -> bytes:
    """A PDF with a page for each content, a stream that is packed."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * place) for place in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(contents), kids),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for content in contents:
        packed = zlib.compress(content)
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (len(objects) + 2),
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed),
        ]
    written, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(b"%010d 00000 n \n" % len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    count = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, b"".join(places))
    end = b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n"
    return written + table + end % (count, trailer, len(written))


def page(text: bytes, times: int = 1) -> bytes:
    return b"BT /F1 12 Tf 50 700 Td " + b"(%s) Tj 0 -1 Td\n" % text * times + b"ET"


# Minutes of work for the tool, in 200 kB.
ENDLESS = page(b"all work and no play", 3_000_000)
# No password fits: these are not what any would be kept as.
LOCKED = b"/ID [<%s> <%s>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (
    b"00" * 16, b"00" * 16, b"17" * 32, b"42" * 32
)  # fmt: skip


def test_pages(months: Path, extract: Callable[..., TaskRun]) -> None:
    run = extract(months)
    assert run.result == {
        "total_counts": 4,
        "success_counts": 4,
        "failed_counts": 0,
        "failed_pages": [],
        "pages_without_text": 1,
    }
    found = run.outputs["months.txt"].text().split("\f")
    assert [part.strip() for part in found] == TEXTS


def test_layout(extract: Callable[..., TaskRun]) -> None:
    source = pdf(b"BT /F1 12 Tf 50 700 Td (left) Tj 300 0 Td (right) Tj ET")
    (read,) = extract(source).outputs.values()
    (laid_out,) = extract(source, layout="page").outputs.values()
    assert read.text().split() == laid_out.text().split() == ["left", "right"]
    assert read.text() != laid_out.text()


def test_a_page_that_takes_too_long_fails_alone(extract: Callable[..., TaskRun]) -> None:
    run = extract(pdf(page(b"one"), ENDLESS, page(b"three")), page_seconds=1)
    assert run.result is not None, run.error
    assert run.result["failed_pages"] == [2]
    (output,) = run.outputs.values()
    assert [part.strip() for part in output.text().split("\f")] == ["one", "", "three"]
    assert any("page 2 cannot be read" in line.message for line in run.logs)


def test_cancel_ends_the_tool(
    start_plugin: Callable[..., TaskRun],
    child_runs: Callable[[str], bool],
    wait_for_child: Callable[[str], None],
) -> None:
    run = start_plugin(PdfText, input=pdf(ENDLESS))
    wait_for_child("pdftotext")
    run.cancel()
    assert run.wait().status is TaskStatus.CANCELLED
    assert not child_runs("pdftotext")


def test_killed_it_goes_on_with_the_next_page(
    months: Path, start_plugin: Callable[..., TaskRun]
) -> None:
    run = start_plugin(PdfText, input=months, isolation="process", kill_at=3).wait()
    again = run.rerun().wait()
    assert again.attempt == 2
    assert [part.strip() for part in again.outputs["months.txt"].text().split("\f")] == TEXTS


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no PDF that can be read"),
        (b"just text", "is no PDF that can be read"),
        (pdf(page(b"one"))[:200], "is no PDF that can be read"),
        (pdf(page(b"one"), trailer=LOCKED), "encrypted"),
        (pdf(*[page(b"x")] * 4), "has 4 pages; `max_pages` is 3"),
        (pdf(), "is no PDF that can be read"),
    ],
    ids=["empty", "text", "cut", "encrypted", "long", "none"],
)
def test_what_people_can_mend(extract: Callable[..., TaskRun], content: bytes, reason: str) -> None:
    run = extract(content, max_pages=3)
    assert run.status is TaskStatus.FAILED
    assert reason in (run.error or "")


def test_the_tools_are_missing(
    months: Path, extract: Callable[..., TaskRun], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = extract(months)
    assert run.status is TaskStatus.FAILED
    assert "install poppler-utils" in (run.error or "")
    assert not [request for request in run.requests if "download" in request.path]
