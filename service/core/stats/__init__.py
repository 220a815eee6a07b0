"""What an organization's overview shows: deliveries counted by when their events came, and what stands in their way."""
