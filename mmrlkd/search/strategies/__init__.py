"""Ways to propose candidates."""
