"""How good fine-tuned models get on public data, and how long it takes."""
