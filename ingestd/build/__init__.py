"""The composition root: the only place that builds objects. Everything else gets what it needs as arguments."""
