"""What runs inside the workers of libraries that load no plug-in by themselves; it stands alone, as the workers do.

Each module but `in_hand` starts the workers of one library as the library's own command does, with hooks: READY=1 when
they wait for work, and the tasks in hand while they stop. Importing it sets the hooks and starts nothing.
"""
