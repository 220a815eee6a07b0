"""The verbs: what happens to an event from the broker to the receiver. Imports only the core and the ports."""
