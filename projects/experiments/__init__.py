"""Training many models and comparing them: one table, a row for each run."""
