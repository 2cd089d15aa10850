"""What takes two people: kept while it waits for the second, confirmed or declined by them, and over with its time."""
