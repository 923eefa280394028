"""One HTML file for a colleague: a run's report, or a comparison; no network, no scripts."""
