# io_uring is refused to the command, as in a container with Docker's default profile.
pollring() {
    python3 "$PYTHONPATH/../../tests/refuse.py" --setup EPERM --enter EPERM python3 -m pollring "$@"
}
