"""Programs that figures are measured against."""
