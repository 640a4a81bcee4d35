"""Our uploads of many small files: side by side, as a task's outputs are, or one by one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.transfer.job import job_of_argv, measured
from benchmarks.transfer.ours import Urls
from plugin_framework.lifecycle.uploading import FILES_PER_PART, MOST_FILES
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.parallel import Reins, Width, run_all
from plugin_framework.transfer.upload import upload_file


def main() -> None:
    """Upload the folder that the job names as its file."""
    job = job_of_argv()
    options = EngineOptions(
        ca_bundle=Path(job.authority), concurrency=job.concurrency, allow_private=True
    )
    engine, api, shared = Engine(options), Urls(job.origin), Width(job.concurrency)
    files = min(FILES_PER_PART * job.concurrency, MOST_FILES) if job.concurrency > 1 else 1

    def store(path: Path, reins: Reins) -> None:
        upload_file(engine, path, name=path.name, api=api, width=shared, reins=reins)

    with measured():
        run_all(Path(job.file).iterdir(), store, width=Width(files), tick=lambda: None)
    engine.close()


if __name__ == "__main__":
    main()
