"""Measuring this machine's own device pair, and fitting the predictor to it: what `lb tune` does."""
