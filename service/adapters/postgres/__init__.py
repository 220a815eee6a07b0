"""PostgreSQL: the retry queue and the record. One package per noun; the engine and the schema beside them."""
