"""The graph neural network, in PyTorch with PyTorch Geometric; needed for training only."""
