"""TIR: schedule rules applied, functions lowered."""
