"""Moving bytes between local files and object storage."""
