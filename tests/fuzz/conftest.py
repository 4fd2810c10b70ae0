"""The fuzzer itself is no test, and its library is installed for `make fuzz` alone."""

collect_ignore = ["mail.py"]
