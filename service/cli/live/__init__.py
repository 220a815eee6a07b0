"""What happens now, in a terminal: ``listen`` forwards events to a local URL, ``tail`` prints attempts."""
