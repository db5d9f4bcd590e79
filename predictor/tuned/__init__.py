"""Heads: what a machine's own measurements add to the shipped model."""
