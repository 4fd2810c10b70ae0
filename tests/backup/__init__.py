"""Backups are whole, show nothing, and come back as what they were; what is not whole does not come back."""
