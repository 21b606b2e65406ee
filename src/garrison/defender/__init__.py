"""defender."""
