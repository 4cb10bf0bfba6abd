"""From the words of a command to checked, typed settings, or to one line about the error."""
