"""What one organization's trouble costs its neighbours: one measurement for each kind of trouble."""
