"""Turning hidden states into tokens and likelihoods; owns the life of the key/value cache."""
