"""What authors may use stays what it was in the last release."""
