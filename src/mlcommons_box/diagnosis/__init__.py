"""What the engines of this machine are, what is wrong with each, and how to mend it."""
