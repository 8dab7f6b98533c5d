"""The bundle: the folder with everything that serving needs."""
