"""What the process, its files and its machine are; nothing here knows of networks."""
