"""Measurements: each module prints a table and the machine it ran on."""
