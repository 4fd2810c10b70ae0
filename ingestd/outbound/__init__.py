"""The outbox: compose once, record the attempt, send, resolve, file the Sent copy."""
