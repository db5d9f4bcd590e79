"""Measured launches to learn from; needed for training only."""
