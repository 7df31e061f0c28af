"""What plugin authors test with: the conformance kit and synthetic captures."""
