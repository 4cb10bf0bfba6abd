"""From the words of a command to checked, typed settings, or one line that says what is wrong."""
