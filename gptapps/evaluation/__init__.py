"""Numbers that another person gets too: evaluation of a task on data, and suites of them."""
