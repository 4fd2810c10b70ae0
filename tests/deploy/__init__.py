"""What is under deploy/, as an operator would use it."""
