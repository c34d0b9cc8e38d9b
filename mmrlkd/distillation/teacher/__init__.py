"""Teachers: what they compute, and when."""
