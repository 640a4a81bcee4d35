"""What the framework tells others while it works: traces, figures, and facts for log lines.

All of it is extensions, on the hooks that any extension has. The libraries of the extra
``telemetry`` are imported only where they are asked for.
"""
