"""What this release makes of what others have written, and they of what it writes."""
