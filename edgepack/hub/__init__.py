"""Takes the reports of a fleet. Imports neither the build side nor the runner."""
