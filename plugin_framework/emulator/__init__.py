"""A local Datahub: the API and an object store."""
