"""What the pages show, a module for each noun."""
