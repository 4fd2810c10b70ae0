"""What happened in an account: one ordered log, read by a cursor or told to webhooks."""
