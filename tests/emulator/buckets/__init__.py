"""The local Datahub over the buckets of real stores: SeaweedFS, and MinIO's code in JuiceFS."""
