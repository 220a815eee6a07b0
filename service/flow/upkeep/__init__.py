"""What keeps the house in order while events flow."""
