"""Random pyopencl programs that are run twice at once: by pyopencl, and by numpy over plain arrays of bytes.

`kernels` holds the kernels, each with the same in numpy; `world` holds a program's buffers and queues and
offers the operations of a program, each of which does the same to both.
"""
