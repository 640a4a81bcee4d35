"""What a release is built from and consists of."""
