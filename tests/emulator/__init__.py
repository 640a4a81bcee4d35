"""The emulator is tested from outside: a real process, real sockets."""
