"""Faults that are often wanted, ready to be set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

PRESETS: Final[Sequence[dict[str, Any]]] = (
    {
        "name": "outage",
        "title": "Outage of 30 s",
        "meaning": "Datahub and storage reset every connection for half a minute.",
        "rules": [{"name": "outage", "fault": "outage", "until": 30}],
    },
    {
        "name": "slow-api",
        "title": "Slow API",
        "meaning": "Every call to Datahub takes two seconds longer.",
        "rules": [{"name": "slow-api", "fault": "delay", "call": ["api"], "seconds": 2}],
    },
    {
        "name": "flaky-api",
        "title": "Flaky API",
        "meaning": "One call to Datahub in ten is answered 503.",
        "rules": [
            {
                "name": "flaky-api",
                "fault": "status",
                "call": ["api"],
                "status": 503,
                "probability": 0.1,
            }
        ],
    },
    {
        "name": "lost-answers",
        "title": "Lost answers",
        "meaning": "One call to Datahub in five is applied, and its answer lost by a reset.",
        "rules": [
            {
                "name": "lost-answers",
                "fault": "reset",
                "call": ["api"],
                "applied": True,
                "probability": 0.2,
            }
        ],
    },
    {
        "name": "slow-down",
        "title": "Storage asks to slow down",
        "meaning": "One request to storage in three is answered 503 SlowDown.",
        "rules": [{"name": "slow-down", "fault": "slow_down", "probability": 0.33}],
    },
    {
        "name": "expired-urls",
        "title": "Expired URLs",
        "meaning": "The first presigned URL of each file is expired when it is used.",
        "rules": [{"name": "expired-urls", "fault": "expire", "each": "object", "count": 1}],
    },
    {
        "name": "truncated-downloads",
        "title": "Truncated downloads",
        "meaning": "Every second download breaks off half-way.",
        "rules": [
            {"name": "truncated-downloads", "fault": "truncate", "call": ["get"], "every": 2}
        ],
    },
    {
        "name": "ignored-ranges",
        "title": "Ignored ranges",
        "meaning": "Storage answers every range with the whole object.",
        "rules": [{"name": "ignored-ranges", "fault": "ignore_range"}],
    },
)
"""``rules`` of each as a file has them."""
