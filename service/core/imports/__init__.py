"""What other services export, read as endpoints of ours: pure, so that a dry run and the import read the same."""
