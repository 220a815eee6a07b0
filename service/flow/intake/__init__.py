"""Events in: judged, and recorded before they are acked."""
