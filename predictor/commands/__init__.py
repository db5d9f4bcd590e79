"""The commands of `python -m predictor`, one file each; torch is imported when they run."""
