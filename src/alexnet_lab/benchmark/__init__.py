"""Timing: AlexNet itself, and its training step on each device."""
