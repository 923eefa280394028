"""One GPT for every family: token ids in, hidden states out. It names no task."""
