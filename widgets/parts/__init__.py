"""What the panels are made of."""
