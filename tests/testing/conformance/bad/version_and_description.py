from __future__ import annotations

from tests.testing.conformance.bad.lines import Lines


class Bad(Lines):
    version = ""
