"""The deliveries of an organization: the list, and everything about one."""
