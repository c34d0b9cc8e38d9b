"""The teacher: building, loading, and computing its levels when needed."""
