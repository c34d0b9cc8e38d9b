"""Several trainings as one experiment: run them, continue them, compare them."""
