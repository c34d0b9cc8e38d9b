"""Figures of the results table."""
