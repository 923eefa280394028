"""Pre-training of a GPT from scratch on plain text."""
