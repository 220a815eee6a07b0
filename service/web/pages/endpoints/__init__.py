"""The endpoints of an organization: the list, adding one, and everything about one."""
