"""Ways to evaluate candidates."""
