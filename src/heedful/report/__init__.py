"""From a run's folder to figures, plots, one HTML page and one line; no torch."""
