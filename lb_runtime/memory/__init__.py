"""Which bytes of a buffer are where, and how copies of one buffer become one again."""
