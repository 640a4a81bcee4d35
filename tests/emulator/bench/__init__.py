"""What a load comes to, and how it is made."""
