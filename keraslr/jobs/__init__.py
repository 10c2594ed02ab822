"""Many runs: which are missing, where they are trained, and where their results are kept."""
