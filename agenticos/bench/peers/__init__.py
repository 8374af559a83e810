"""Other ways to do the dispatch work, to compare with."""
