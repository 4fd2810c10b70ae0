"""The coverage-guided fuzzer of the mail core: `make fuzz`."""
