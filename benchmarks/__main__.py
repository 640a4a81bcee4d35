"""Run every measurement, one after the other."""

from benchmarks import heartbeats, imports, memory, service, small_files, startup

for part in (imports, startup, memory, heartbeats, small_files, service):
    print(f"\n{part.__doc__.splitlines()[0] if part.__doc__ else part.__name__}")
    part.main()
