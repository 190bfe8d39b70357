"""The machine that this runs on: devices, processes, and files that are complete or absent."""
