"""PostgreSQL: the retry queue and the record. A room for each noun, the engine and the schema beside them."""
