"""Weighing the levels' losses, and skipping updates that are not finite."""
