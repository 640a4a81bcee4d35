"""What tries plugins by the rules, tried itself."""
