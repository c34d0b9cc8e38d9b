"""Pyramid levels of a network: found, tapped, probed."""
