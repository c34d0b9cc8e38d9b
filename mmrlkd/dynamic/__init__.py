"""Inference under a latency budget: how to run a model on this image."""
