"""Configs: found, checked and composed."""
