"""The pages: what subscribers and operators look at in a browser. They call the operations of ``/v1`` (ADR 52)."""
