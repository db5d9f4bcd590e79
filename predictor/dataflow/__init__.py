"""Data-flow analyses learned from program graphs: the five tasks of ProGraML's paper. Offline only."""
