"""The API server, as effects and as a store of what it last told us."""
