# Completion of multi for fish.
multi completion fish | source
