"""The fault soak: an end-to-end test that lasts as long as is wanted, built from the parts of tests/end_to_end."""
