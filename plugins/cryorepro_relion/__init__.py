"""The installed RELION as a runner: exact command lines, and checks that do not trust its exit codes."""
