"""What every request with a key passes: who is asking, whether too often, and whether it was asked before."""
