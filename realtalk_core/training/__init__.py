"""Training: the data a stage learns from, and the one loop that trains every stage."""
