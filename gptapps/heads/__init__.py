"""Task heads: what turns the backbone's hidden states into what a task needs."""
