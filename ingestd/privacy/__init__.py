"""Forgetting: disconnect, revocation, receipts, and what a restore must not bring back."""
