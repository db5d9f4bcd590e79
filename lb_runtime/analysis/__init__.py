"""What a kernel touches, read from its intermediate representation, and whether it can be split."""
