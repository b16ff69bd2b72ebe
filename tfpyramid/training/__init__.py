"""How pyramids are trained."""
