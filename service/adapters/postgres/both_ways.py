"""Lists that are read in both directions: each statement has two forms."""


def both_ways(descending: str, *, head: str = "") -> dict[bool, str]:
    """The two forms of a statement, by ``is_descending``; it begins with ``head``, which is the same in both."""
    ascending = descending.replace(" DESC", " ASC").replace(" < (", " > (")
    return {True: head + descending, False: head + ascending}
