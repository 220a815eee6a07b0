"""A receiver's rehearsal: what it is sent, what it should answer, and what its answers say of it."""
