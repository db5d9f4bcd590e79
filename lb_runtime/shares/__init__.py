"""Policies that turn what a model says and what launches have shown into shares. No device, no clock."""
