"""These modules are components under test, not tests."""

collect_ignore_glob = ["*.py"]
