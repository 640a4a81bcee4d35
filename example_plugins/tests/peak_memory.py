"""Runs a plugin of this distribution on a file and prints the most memory it had, in KiB."""

import importlib
import json
import sys
import tempfile
from pathlib import Path

from conftest import run_plugin

from example_plugins import csv_stream, parquet_convert


def main(plugin: str, source: str, shrink: str, config: str) -> None:
    csv_stream.BLOCK_SIZE //= int(shrink)
    parquet_convert.ROW_GROUP_BYTES //= int(shrink)
    module, name = plugin.split(":")
    plugin_class = getattr(importlib.import_module(module), name)
    with tempfile.TemporaryDirectory() as folder:
        run_plugin(plugin_class, Path(source), Path(folder), **json.loads(config))
    status = Path("/proc/self/status").read_text("utf-8")
    print(status.split("VmHWM:")[1].split()[0])  # noqa: T201 - its one result


main(*sys.argv[1:])
