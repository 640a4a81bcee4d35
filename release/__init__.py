"""What builds a release and checks what it consists of. It is no part of what is installed."""
