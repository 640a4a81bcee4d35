"""Real plugins: each is one module, shown in the docs and run in the tests."""
