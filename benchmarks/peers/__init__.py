"""Other ways of running the same graph over a large frame, each in a small file, timed and checked beside this project's."""
