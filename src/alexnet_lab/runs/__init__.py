"""Runs with names: which epochs are known, which are left to train, and who trains them."""
