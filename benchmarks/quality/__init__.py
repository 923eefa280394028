"""How good the packaged models are on the suites, and the tables of that in the READMEs."""
