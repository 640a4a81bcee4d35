"""Run every measurement, one after the other, or those that are named."""

import sys
from types import ModuleType

from benchmarks import (
    cluster,
    emulator,
    heartbeats,
    imports,
    kit,
    memory,
    service,
    small_files,
    soak,
    startup,
    storage,
    telemetry,
)
from benchmarks.transfer import suite

PARTS: dict[str, ModuleType] = {
    "imports": imports,
    "startup": startup,
    "kit": kit,
    "memory": memory,
    "heartbeats": heartbeats,
    "small-files": small_files,
    "service": service,
    "cluster": cluster,
    "emulator": emulator,
    "storage": storage,
    "telemetry": telemetry,
    "transfer": suite,
}
FOR_HOURS: dict[str, ModuleType] = {"soak": soak}
"""Those that run only when they are named."""

every = PARTS | FOR_HOURS
unknown = set(sys.argv[1:]) - every.keys()
if unknown:
    sys.exit(f"no measurement {', '.join(sorted(unknown))}; there are {', '.join(every)}")
for name in sys.argv[1:] or PARTS:
    print(f"\n{(every[name].__doc__ or name).splitlines()[0]}")
    every[name].main()
