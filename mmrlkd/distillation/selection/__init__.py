"""Selectors of levels, their environment, policies, rewards and descriptors."""
