"""Dividing data sets."""
