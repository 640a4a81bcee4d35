"""Running plugins without a real Datahub."""
