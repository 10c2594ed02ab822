"""Measurements: each module prints a table, and says what it ran on."""
