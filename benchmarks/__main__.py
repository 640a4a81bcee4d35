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
    startup,
    storage,
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
    "transfer": suite,
}
unknown = set(sys.argv[1:]) - PARTS.keys()
if unknown:
    sys.exit(f"no measurement {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
for name in sys.argv[1:] or PARTS:
    print(f"\n{(PARTS[name].__doc__ or name).splitlines()[0]}")
    PARTS[name].main()
