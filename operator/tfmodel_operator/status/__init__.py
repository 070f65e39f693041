"""From facts to conditions and status: pure functions."""
