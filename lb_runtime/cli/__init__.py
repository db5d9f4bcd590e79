"""The `lb` command: the only place that wires the rooms of this package together."""
