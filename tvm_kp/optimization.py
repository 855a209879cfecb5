"""What compilers shall make of the C."""

SPEED, SIZE = "speed", "size"
OPTIMIZE = (SPEED, SIZE)
