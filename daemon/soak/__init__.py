"""``pfmemd soak``: traces against a daemon for a time, with thresholds, a verdict and a report."""
