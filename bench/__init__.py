"""Performance, measured: `make bench`. What is measured, and how to add a figure: bench/README.md."""
