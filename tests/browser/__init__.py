"""Tests that look at the panels as people do: in a browser."""
