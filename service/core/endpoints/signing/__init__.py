"""How an endpoint's webhooks are signed: styles, their secrets and public keys, and the change from one to the next."""
